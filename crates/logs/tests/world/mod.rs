//! A log service on a disk and a clock that tests control.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_api::logs::{self, Logs};
use longshore_api::{ServiceError, Value};
use longshore_logs::{LogOptions, LogStore, LogsService, Scope};
use longshore_seams::{Disk, ManualClock, MemoryDisk, Random, Seams, SystemRandom, Timestamp, TokioSpawner};
use longshore_store::memory::Memory;
use longshore_store::segments::SegmentOptions;
use longshore_wire::{Principal, RequestContext};

pub const GROUP: &str = "group";
pub const STREAM: &str = "prefix/container/task";
/// Milliseconds at which the clock stands.
pub const NOW: i64 = 1_700_000_000_000;
pub const HOUR: i64 = 3_600_000;
/// Bytes of all groups' files together.
pub const BYTES: usize = 40_000;

pub struct World {
    pub service: LogsService,
    pub store: LogStore,
    pub context: RequestContext,
    pub disk: MemoryDisk,
    records: Arc<Memory>,
    clock: Arc<ManualClock>,
    /// Ids of groups seen so far.
    seen: Mutex<BTreeSet<String>>,
    bytes: u64,
}

/// An event so many milliseconds after [`NOW`].
pub fn event(millis: i64, message: &str) -> logs::InputLogEvent {
    logs::InputLogEvent { timestamp: Some(NOW + millis), message: Some(message.to_owned()) }
}

pub fn code<T>(result: Result<T, ServiceError>) -> &'static str {
    result.err().expect("it is refused").code
}

fn context(account: &str, region: &str) -> RequestContext {
    RequestContext {
        request_id: "1".into(),
        principal: Principal::Root { account: account.into() },
        access_key_id: "AKIAEXAMPLE".into(),
        account: account.into(),
        region: region.into(),
        source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        user_agent: "test".into(),
        base_url: "http://localhost:4747".into(),
        received_at: Timestamp::from_millis(NOW),
    }
}

impl World {
    pub async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(NOW)));
        Self::open(MemoryDisk::default(), Arc::new(Memory::default()), clock, LogOptions::default().bytes).await
    }

    /// A world with room for [`BYTES`].
    pub async fn small() -> Self {
        let world = Self::new().await;
        Self::open(world.disk, world.records, world.clock, BYTES as u64).await
    }

    async fn open(disk: MemoryDisk, records: Arc<Memory>, clock: Arc<ManualClock>, bytes: u64) -> Self {
        let seams = Seams {
            clock: clock.clone(),
            random: Arc::new(SystemRandom) as Arc<dyn Random>,
            spawner: Arc::new(TokioSpawner),
            disk: Arc::new(disk.clone()),
        };
        let options = LogOptions {
            bytes,
            segments: SegmentOptions { segment_bytes: 4_000, ..SegmentOptions::default() },
            cached_streams: 4,
            ..LogOptions::default()
        };
        let store = LogStore::open(Path::new("/logs"), records.clone(), options, &seams).await.unwrap();
        let service = LogsService::new(store.clone());
        let context = context("123456789012", "us-east-1");
        Self { service, store, context, disk, records, clock, seen: Mutex::default(), bytes }
    }

    /// What is there after power was lost now.
    pub async fn crash(self) -> Self {
        Self::open(self.disk.crash(), Arc::new(self.records.reopen()), self.clock, self.bytes).await
    }

    pub fn advance(&self, millis: i64) {
        self.clock.advance(Duration::from_millis(millis.unsigned_abs()));
    }

    pub fn context_of(&self, account: &str, region: &str) -> RequestContext {
        context(account, region)
    }

    pub fn scope(&self) -> Scope {
        Scope { account: self.context.account.clone(), region: self.context.region.clone() }
    }

    /// Segment files of all groups that were there at this or an earlier call.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut seen = self.seen.lock().unwrap();
        seen.extend(self.store.groups(&self.scope(), None).into_iter().map(|(_, record)| record.id));
        let mut files = Vec::new();
        for group in &*seen {
            let directory = Path::new("/logs").join(group);
            files.extend(self.disk.list(&directory).unwrap().into_iter().map(|name| directory.join(name)));
        }
        files
    }

    pub async fn call(&self, operation: &str, input: &str) -> Result<(), ServiceError> {
        let value: Value = serde_json::from_str(input).unwrap();
        logs::dispatch(&self.service, &self.context, operation, &value).await.map(drop)
    }

    pub async fn try_create_group(&self, name: &str) -> Result<(), ServiceError> {
        let input = logs::CreateLogGroupRequest { log_group_name: Some(name.into()), ..Default::default() };
        self.service.create_log_group(&self.context, input).await
    }

    pub async fn create_group(&self, name: &str) {
        self.try_create_group(name).await.unwrap();
    }

    pub async fn try_create_stream(&self, group: &str, stream: &str) -> Result<(), ServiceError> {
        let input =
            logs::CreateLogStreamRequest { log_group_name: Some(group.into()), log_stream_name: Some(stream.into()) };
        self.service.create_log_stream(&self.context, input).await
    }

    /// Makes [`GROUP`] with [`STREAM`].
    pub async fn create_stream(&self) {
        self.create_group(GROUP).await;
        self.try_create_stream(GROUP, STREAM).await.unwrap();
    }

    pub async fn put_to(
        &self,
        stream: &str,
        events: &[logs::InputLogEvent],
    ) -> Result<logs::PutLogEventsResponse, ServiceError> {
        let input = logs::PutLogEventsRequest {
            log_group_name: Some(GROUP.into()),
            log_stream_name: Some(stream.into()),
            log_events: Some(events.to_vec()),
            ..Default::default()
        };
        self.service.put_log_events(&self.context, input).await
    }

    pub async fn try_put(&self, events: &[logs::InputLogEvent]) -> Result<logs::PutLogEventsResponse, ServiceError> {
        self.put_to(STREAM, events).await
    }

    pub async fn put(&self, events: &[logs::InputLogEvent]) -> logs::PutLogEventsResponse {
        self.try_put(events).await.unwrap()
    }

    pub async fn groups(&self, input: logs::DescribeLogGroupsRequest) -> logs::DescribeLogGroupsResponse {
        self.service.describe_log_groups(&self.context, input).await.unwrap()
    }

    /// Names of all pages.
    pub async fn stream_names(&self, mut input: logs::DescribeLogStreamsRequest) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let page = self.service.describe_log_streams(&self.context, input.clone()).await.unwrap();
            names.extend(page.log_streams.unwrap().into_iter().filter_map(|stream| stream.log_stream_name));
            input.next_token = page.next_token;
            if input.next_token.is_none() {
                return names;
            }
        }
    }

    /// The first stream of [`GROUP`].
    pub async fn stream(&self) -> logs::LogStream {
        let input = logs::DescribeLogStreamsRequest { log_group_name: Some(GROUP.into()), ..Default::default() };
        self.service.describe_log_streams(&self.context, input).await.unwrap().log_streams.unwrap().remove(0)
    }

    pub async fn get(&self, input: logs::GetLogEventsRequest) -> logs::GetLogEventsResponse {
        self.service.get_log_events(&self.context, input).await.unwrap()
    }

    /// All of [`STREAM`], from its head on.
    pub async fn messages(&self) -> Vec<String> {
        let mut input = get_request();
        input.start_from_head = Some(true);
        let mut messages = Vec::new();
        loop {
            let page = self.get(input.clone()).await;
            messages.extend(page.events.unwrap().into_iter().filter_map(|event| event.message));
            if input.next_token == page.next_forward_token {
                return messages;
            }
            input.next_token = page.next_forward_token;
        }
    }

    pub async fn filter_all(&self, mut input: logs::FilterLogEventsRequest) -> Vec<logs::FilteredLogEvent> {
        let mut events = Vec::new();
        loop {
            let page = self.service.filter_log_events(&self.context, input.clone()).await.unwrap();
            events.extend(page.events.unwrap());
            input.next_token = page.next_token;
            if input.next_token.is_none() {
                return events;
            }
        }
    }

    /// Messages in [`GROUP`] that match.
    pub async fn filter(&self, pattern: &str) -> Vec<String> {
        let input = logs::FilterLogEventsRequest {
            log_group_name: Some(GROUP.into()),
            filter_pattern: Some(pattern.into()),
            ..Default::default()
        };
        self.filter_all(input).await.into_iter().filter_map(|event| event.message).collect()
    }
}

/// Of [`STREAM`].
pub fn get_request() -> logs::GetLogEventsRequest {
    logs::GetLogEventsRequest {
        log_group_name: Some(GROUP.into()),
        log_stream_name: Some(STREAM.into()),
        ..Default::default()
    }
}
