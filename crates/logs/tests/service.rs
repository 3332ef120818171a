//! The CloudWatch Logs operations, through the generated trait and dispatch.

mod world;

use longshore_api::logs::{self, Logs};
use longshore_logs::{Event, LogOptions, LogStore, Scope, StreamQuery};
use longshore_seams::Disk;
use world::{GROUP, HOUR, NOW, STREAM, World, code, event};

#[tokio::test]
async fn a_group_is_created_described_and_deleted() {
    let world = World::new().await;
    world.create_group("/ecs/a").await;
    world.create_group("/ecs/b").await;
    world.create_group("other").await;
    let groups = world
        .groups(logs::DescribeLogGroupsRequest { log_group_name_prefix: Some("/ecs/".into()), ..Default::default() });
    let groups = groups.await.log_groups.unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0].log_group_name.as_deref(), Some("/ecs/a"));
    assert_eq!(groups[0].arn.as_deref(), Some("arn:aws:logs:us-east-1:123456789012:log-group:/ecs/a:*"));
    assert_eq!(groups[0].log_group_arn.as_deref(), Some("arn:aws:logs:us-east-1:123456789012:log-group:/ecs/a"));
    assert_eq!(groups[0].creation_time, Some(NOW));
    assert_eq!((groups[0].retention_in_days, groups[0].metric_filter_count), (None, Some(0)));
    let delete = logs::DeleteLogGroupRequest { log_group_name: Some("/ecs/a".into()) };
    world.service.delete_log_group(&world.context, delete.clone()).await.unwrap();
    let gone = world.service.delete_log_group(&world.context, delete).await.unwrap_err();
    assert_eq!(gone.code, "ResourceNotFoundException");
    assert_eq!(gone.message, "The specified log group does not exist.");
}

#[tokio::test]
async fn groups_come_in_pages_by_name() {
    let world = World::new().await;
    for name in ["c", "a", "b", "d", "e"] {
        world.create_group(name).await;
    }
    let (mut names, mut next_token) = (Vec::new(), None);
    loop {
        let input = logs::DescribeLogGroupsRequest { limit: Some(2), next_token, ..Default::default() };
        let page = world.groups(input).await;
        names.extend(page.log_groups.unwrap().into_iter().filter_map(|group| group.log_group_name));
        next_token = page.next_token;
        if next_token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let foreign = logs::DescribeLogGroupsRequest { next_token: Some("a".into()), ..Default::default() };
    assert_eq!(code(world.service.describe_log_groups(&world.context, foreign).await), "InvalidParameterException");
}

#[tokio::test]
async fn a_pattern_finds_groups_by_a_part_of_their_names_in_its_own_case() {
    let world = World::new().await;
    for name in ["DataLogs", "/aws/DataLogs", "GroupDataLogs", "datalogs", "Data/log/s", "Groupdata"] {
        world.create_group(name).await;
    }
    let input =
        logs::DescribeLogGroupsRequest { log_group_name_pattern: Some("DataLogs".into()), ..Default::default() };
    let groups = world.groups(input).await.log_groups.unwrap();
    let names: Vec<_> = groups.into_iter().filter_map(|group| group.log_group_name).collect();
    assert_eq!(names, ["/aws/DataLogs", "DataLogs", "GroupDataLogs"]);
}

#[tokio::test]
async fn a_name_can_be_taken_once_and_again_after_its_deletion() {
    let world = World::new().await;
    world.create_stream().await;
    world.put(&[event(0, "old")]).await;
    let again = world.try_create_group(GROUP).await.unwrap_err();
    assert_eq!(again.code, "ResourceAlreadyExistsException");
    let stream = world.try_create_stream(GROUP, STREAM).await.unwrap_err();
    assert_eq!(stream.code, "ResourceAlreadyExistsException");
    let delete = logs::DeleteLogGroupRequest { log_group_name: Some(GROUP.into()) };
    world.service.delete_log_group(&world.context, delete).await.unwrap();
    world.create_group(GROUP).await;
    assert_eq!(code(world.try_put(&[event(0, "x")]).await), "ResourceNotFoundException");
    world.try_create_stream(GROUP, STREAM).await.unwrap();
    assert!(world.messages().await.is_empty());
}

#[tokio::test]
async fn deleting_a_group_leaves_none_of_its_files() {
    let world = World::new().await;
    world.create_stream().await;
    world.put(&[event(0, "x")]).await;
    assert_eq!(world.files().len(), 1);
    let delete = logs::DeleteLogGroupRequest { log_group_name: Some(GROUP.into()) };
    world.service.delete_log_group(&world.context, delete).await.unwrap();
    assert!(world.files().is_empty());
}

// spec: 07-010
#[tokio::test]
async fn regions_and_accounts_are_separate() {
    let world = World::new().await;
    world.create_stream().await;
    for (account, region) in [("123456789012", "eu-west-1"), ("210987654321", "us-east-1")] {
        let other = world.context_of(account, region);
        let input = logs::DescribeLogStreamsRequest { log_group_name: Some(GROUP.into()), ..Default::default() };
        let missing = world.service.describe_log_streams(&other, input).await.unwrap_err();
        assert_eq!(missing.code, "ResourceNotFoundException");
    }
}

#[tokio::test]
async fn an_unknown_group_or_stream_is_not_found() {
    let world = World::new().await;
    let no_group = world.try_put(&[event(0, "x")]).await.unwrap_err();
    assert_eq!(no_group.code, "ResourceNotFoundException");
    assert_eq!(no_group.message, "The specified log group does not exist.");
    world.create_group(GROUP).await;
    let no_stream = world.try_put(&[event(0, "x")]).await.unwrap_err();
    assert_eq!(no_stream.code, "ResourceNotFoundException");
    assert_eq!(no_stream.message, "The specified log stream does not exist.");
    assert_eq!(code(world.try_create_stream("missing", "s").await), "ResourceNotFoundException");
}

#[tokio::test]
async fn constraints_of_the_model_are_checked() {
    let world = World::new().await;
    let refused = world.call("CreateLogGroup", r#"{"logGroupName":"a b"}"#).await.unwrap_err();
    assert_eq!(refused.code, "InvalidParameterException");
    let refused = world.call("CreateLogStream", r#"{"logGroupName":"a","logStreamName":"a:b"}"#).await.unwrap_err();
    assert_eq!(refused.code, "InvalidParameterException");
    let refused = world.call("CreateLogGroup", r#"{"logGroupName":"aws/x"}"#).await.unwrap_err();
    assert_eq!(refused.message, "Log groups starting with AWS/ are reserved for AWS.");
    let refused = world.call("CreateLogGroup", r#"{"logGroupName":"x","kmsKeyId":"k"}"#).await.unwrap_err();
    assert!(refused.message.contains("kmsKeyId"));
}

#[tokio::test]
async fn live_tail_says_that_it_is_not_built() {
    let world = World::new().await;
    let refused = world.call("StartLiveTail", r#"{"logGroupIdentifiers":["a"]}"#).await.unwrap_err();
    assert!(refused.message.contains("StartLiveTail"), "{refused}");
}

#[tokio::test]
async fn streams_are_listed_by_name_or_by_latest_event() {
    let world = World::new().await;
    world.create_group(GROUP).await;
    for (name, minutes) in [("p/a", 3), ("p/b", 1), ("q/c", 2)] {
        world.try_create_stream(GROUP, name).await.unwrap();
        world.put_to(name, &[event(minutes * 60_000, name)]).await.unwrap();
    }
    let base = || logs::DescribeLogStreamsRequest { log_group_name: Some(GROUP.into()), ..Default::default() };
    assert_eq!(world.stream_names(base()).await, ["p/a", "p/b", "q/c"]);
    let descending = logs::DescribeLogStreamsRequest { descending: Some(true), ..base() };
    assert_eq!(world.stream_names(descending).await, ["q/c", "p/b", "p/a"]);
    let prefix = logs::DescribeLogStreamsRequest { log_stream_name_prefix: Some("p/".into()), ..base() };
    assert_eq!(world.stream_names(prefix).await, ["p/a", "p/b"]);
    let by_time = logs::DescribeLogStreamsRequest { order_by: Some(logs::OrderBy::LastEventTime), ..base() };
    assert_eq!(world.stream_names(by_time.clone()).await, ["p/b", "q/c", "p/a"]);
    let latest_first = logs::DescribeLogStreamsRequest { descending: Some(true), ..by_time.clone() };
    assert_eq!(world.stream_names(latest_first).await, ["p/a", "q/c", "p/b"]);
    let both = logs::DescribeLogStreamsRequest { log_stream_name_prefix: Some("p".into()), ..by_time };
    assert_eq!(code(world.service.describe_log_streams(&world.context, both).await), "InvalidParameterException");
}

#[tokio::test]
async fn streams_come_in_pages_in_every_order() {
    let world = World::new().await;
    world.create_group(GROUP).await;
    for number in 0..7_i64 {
        let name = format!("s{number}");
        world.try_create_stream(GROUP, &name).await.unwrap();
        world.put_to(&name, &[event((number * 5 % 7) * 1_000, "x")]).await.unwrap();
    }
    for (order_by, descending) in [(None, false), (None, true), (Some(()), false), (Some(()), true)] {
        let all = logs::DescribeLogStreamsRequest {
            log_group_name: Some(GROUP.into()),
            order_by: order_by.map(|()| logs::OrderBy::LastEventTime),
            descending: Some(descending),
            ..Default::default()
        };
        let expected = world.stream_names(all.clone()).await;
        assert_eq!(expected.len(), 7);
        let paged = logs::DescribeLogStreamsRequest { limit: Some(2), ..all };
        assert_eq!(world.stream_names(paged).await, expected);
    }
}

#[tokio::test]
async fn a_stream_tells_the_times_of_its_events() {
    let world = World::new().await;
    world.create_stream().await;
    assert_eq!(world.stream().await.last_event_timestamp, None);
    world.put(&[event(-HOUR, "a"), event(0, "b")]).await;
    world.advance(60_000);
    world.put(&[event(-2 * HOUR, "late")]).await;
    let stream = world.stream().await;
    assert_eq!(stream.creation_time, Some(NOW));
    assert_eq!(stream.first_event_timestamp, Some(NOW - 2 * HOUR));
    assert_eq!(stream.last_event_timestamp, Some(NOW));
    assert_eq!(stream.last_ingestion_time, Some(NOW + 60_000));
    let arn = format!("arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}:log-stream:{STREAM}");
    assert_eq!(stream.arn, Some(arn));
    // After a crash before the record was brought up to date.
    let stream = world.crash().await.stream().await;
    assert_eq!(stream.first_event_timestamp, Some(NOW - 2 * HOUR));
    assert_eq!(stream.last_event_timestamp, Some(NOW));
}

#[tokio::test]
async fn a_deleted_stream_takes_its_events_along() {
    let world = World::new().await;
    world.create_stream().await;
    world.put(&[event(0, "old")]).await;
    let delete =
        logs::DeleteLogStreamRequest { log_group_name: Some(GROUP.into()), log_stream_name: Some(STREAM.into()) };
    world.service.delete_log_stream(&world.context, delete.clone()).await.unwrap();
    assert_eq!(code(world.service.delete_log_stream(&world.context, delete).await), "ResourceNotFoundException");
    world.try_create_stream(GROUP, STREAM).await.unwrap();
    world.put(&[event(1, "new")]).await;
    assert_eq!(world.messages().await, ["new"]);
    assert_eq!(world.filter("").await, ["new"]);
    let world = world.crash().await;
    assert_eq!(world.filter("").await, ["new"]);
}

#[tokio::test]
async fn an_acknowledged_event_survives_power_loss() {
    let world = World::new().await;
    world.create_stream().await;
    for number in 0..20 {
        world.put(&[event(number, &format!("line {number}"))]).await;
    }
    let world = world.crash().await;
    let expected: Vec<_> = (0..20).map(|number| format!("line {number}")).collect();
    assert_eq!(world.messages().await, expected);
    world.put(&[event(20, "after")]).await;
    assert_eq!(world.messages().await.len(), 21);
}

#[tokio::test]
async fn rejected_events_are_told_and_the_others_stored() {
    let world = World::new().await;
    world.create_stream().await;
    let day = 24 * HOUR;
    let old = [event(-14 * day - HOUR, "too old"), event(-14 * day + HOUR, "kept")];
    let info = world.put(&old).await.rejected_log_events_info.unwrap();
    assert_eq!((info.too_old_log_event_end_index, info.too_new_log_event_start_index), (Some(1), None));
    let new = [event(HOUR, "kept too"), event(3 * HOUR, "too new")];
    let info = world.put(&new).await.rejected_log_events_info.unwrap();
    assert_eq!((info.too_old_log_event_end_index, info.too_new_log_event_start_index), (None, Some(1)));
    assert_eq!(world.messages().await, ["kept", "kept too"]);
    let none = world.put(&[event(3 * HOUR, "too new")]).await;
    assert_eq!(none.rejected_log_events_info.unwrap().too_new_log_event_start_index, Some(0));
    assert!(world.put(&[event(0, "fine")]).await.rejected_log_events_info.is_none());
}

#[tokio::test]
async fn a_put_out_of_order_is_refused_whole() {
    let world = World::new().await;
    world.create_stream().await;
    assert_eq!(code(world.try_put(&[event(1, "b"), event(0, "a")]).await), "InvalidParameterException");
    assert!(world.messages().await.is_empty());
}

#[tokio::test]
async fn retention_is_set_checked_and_removed() {
    let world = World::new().await;
    world.create_group(GROUP).await;
    let put =
        |days| logs::PutRetentionPolicyRequest { log_group_name: Some(GROUP.into()), retention_in_days: Some(days) };
    let refused = world.service.put_retention_policy(&world.context, put(2)).await.unwrap_err();
    assert_eq!(refused.code, "InvalidParameterException");
    world.service.put_retention_policy(&world.context, put(7)).await.unwrap();
    let retention =
        async |world: &World| world.groups(Default::default()).await.log_groups.unwrap().remove(0).retention_in_days;
    assert_eq!(retention(&world).await, Some(7));
    let world = world.crash().await;
    assert_eq!(retention(&world).await, Some(7));
    let delete = logs::DeleteRetentionPolicyRequest { log_group_name: Some(GROUP.into()) };
    world.service.delete_retention_policy(&world.context, delete).await.unwrap();
    assert_eq!(retention(&world).await, None);
}

#[tokio::test]
async fn events_go_with_their_retention() {
    let world = World::new().await;
    world.create_stream().await;
    let days = logs::PutRetentionPolicyRequest { log_group_name: Some(GROUP.into()), retention_in_days: Some(1) };
    world.service.put_retention_policy(&world.context, days).await.unwrap();
    world.put(&[event(-23 * HOUR, "old")]).await;
    world.put(&[event(0, "new")]).await;
    assert_eq!(world.messages().await, ["old", "new"]);
    let expired = world.put(&[event(-25 * HOUR, "expired"), event(-2 * HOUR, "kept")]).await;
    assert_eq!(expired.rejected_log_events_info.unwrap().expired_log_event_end_index, Some(1));
    // Left out at once, deleted with its segment.
    world.advance(2 * HOUR);
    assert_eq!(world.messages().await, ["kept", "new"]);
    world.advance(25 * HOUR);
    world.store.upkeep().await.unwrap();
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn the_oldest_segments_of_all_groups_go_when_there_are_too_many_bytes() {
    let world = World::small().await;
    world.create_group(GROUP).await;
    world.create_group("quiet").await;
    world.try_create_stream("quiet", "s").await.unwrap();
    world.try_create_stream(GROUP, STREAM).await.unwrap();
    for number in 0..60 {
        world.put(&[event(number, &"x".repeat(1_000))]).await;
    }
    world.store.upkeep().await.unwrap();
    let bytes: usize = world.files().iter().map(|file| world.disk.read(file).unwrap().unwrap().len()).sum();
    assert!(bytes <= world::BYTES, "{bytes}");
    let left = world.messages().await.len();
    assert!(left > 10 && left < 60, "{left}");
}

#[tokio::test]
async fn tags_are_set_listed_and_taken_away() {
    let world = World::new().await;
    world.call("CreateLogGroup", r#"{"logGroupName":"group","tags":{"a":"1"}}"#).await.unwrap();
    let arn = format!("arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}");
    let tag =
        logs::TagResourceRequest { resource_arn: Some(arn.clone()), tags: Some([("b".into(), "2".into())].into()) };
    world.service.tag_resource(&world.context, tag).await.unwrap();
    let tag = logs::TagLogGroupRequest {
        log_group_name: Some(GROUP.into()),
        tags: Some([("c".into(), "3".into()), ("a".into(), "4".into())].into()),
    };
    world.service.tag_log_group(&world.context, tag).await.unwrap();
    let untag = logs::UntagResourceRequest { resource_arn: Some(arn.clone()), tag_keys: Some(vec!["b".into()]) };
    world.service.untag_resource(&world.context, untag).await.unwrap();
    let list = logs::ListTagsForResourceRequest { resource_arn: Some(arn) };
    let tags = world.service.list_tags_for_resource(&world.context, list).await.unwrap().tags.unwrap();
    assert_eq!(tags, [("a".into(), "4".into()), ("c".into(), "3".into())].into());
    let list = logs::ListTagsLogGroupRequest { log_group_name: Some(GROUP.into()) };
    assert_eq!(world.service.list_tags_log_group(&world.context, list).await.unwrap().tags, Some(tags));
}

#[tokio::test]
async fn too_many_and_reserved_tags_are_refused() {
    let world = World::new().await;
    world.create_group(GROUP).await;
    let tag = |keys: Vec<String>| logs::TagResourceRequest {
        resource_arn: Some(format!("arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}")),
        tags: Some(keys.into_iter().map(|key| (key, String::new())).collect()),
    };
    let reserved = world.service.tag_resource(&world.context, tag(vec!["aws:x".into()])).await;
    assert_eq!(code(reserved), "InvalidParameterException");
    let fifty = (0..50).map(|number| number.to_string()).collect();
    world.service.tag_resource(&world.context, tag(fifty)).await.unwrap();
    let more = world.service.tag_resource(&world.context, tag(vec!["more".into()])).await;
    assert_eq!(code(more), "TooManyTagsException");
}

#[tokio::test]
async fn a_group_can_be_named_by_its_arn() {
    let world = World::new().await;
    world.create_stream().await;
    world.put(&[event(0, "x")]).await;
    let by = |name: Option<&str>, identifier: Option<&str>| logs::GetLogEventsRequest {
        log_group_name: name.map(str::to_owned),
        log_group_identifier: identifier.map(str::to_owned),
        log_stream_name: Some(STREAM.into()),
        ..Default::default()
    };
    let arn = format!("arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}");
    for identifier in [GROUP, &arn, &format!("{arn}:*")] {
        let events = world.service.get_log_events(&world.context, by(None, Some(identifier))).await.unwrap();
        assert_eq!(events.events.unwrap().len(), 1);
    }
    for wrong in [by(Some(GROUP), Some(GROUP)), by(None, None), by(None, Some("arn:aws:logs:x:1:log-group:g"))] {
        assert_eq!(code(world.service.get_log_events(&world.context, wrong).await), "InvalidParameterException");
    }
}

#[tokio::test]
async fn it_works_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("server/logs");
    let records = std::sync::Arc::new(longshore_store::memory::Memory::default());
    let seams = longshore_seams::Seams::system();
    let open = || LogStore::open(&logs, records.clone(), LogOptions::default(), &seams);
    let scope = Scope { account: "123456789012".into(), region: "us-east-1".into() };
    let store = open().await.unwrap();
    store.create_group(&scope, GROUP, Default::default()).await.unwrap();
    store.create_stream(&scope, GROUP, STREAM).await.unwrap();
    let event = Event { timestamp: seams.clock.now(), message: "x".into() };
    store.put(&scope, GROUP, STREAM, std::slice::from_ref(&event)).await.unwrap();
    store.close().await.unwrap();
    let store = open().await.unwrap();
    let (streams, _) = store.streams(&scope, GROUP, &StreamQuery { limit: 1, ..Default::default() }).await.unwrap();
    assert_eq!(streams[0].record.activity.unwrap().last_event, event.timestamp);
    assert!(store.stored_bytes(&scope, GROUP).await.unwrap() > 0);
    store.delete_group(&scope, GROUP).await.unwrap();
    assert_eq!(logs.read_dir().unwrap().count(), 0);
}
