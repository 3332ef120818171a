//! Reading, filtering and following events.

mod world;

use longshore_api::logs::{self, Logs};
use longshore_logs::Streams;
use longshore_seams::{Random, SeededRandom};
use world::{GROUP, HOUR, NOW, World, code, event, get_request};

fn messages(page: &logs::GetLogEventsResponse) -> Vec<&str> {
    page.events.iter().flatten().filter_map(|event| event.message.as_deref()).collect()
}

async fn with_lines(count: i64) -> World {
    let world = World::new().await;
    world.create_stream().await;
    for number in 0..count {
        world.put(&[event(number, &number.to_string())]).await;
    }
    world
}

// spec: 07-022
#[tokio::test]
async fn events_have_timestamp_message_and_ingestion_time_in_time_order() {
    let world = World::new().await;
    world.create_stream().await;
    world.put(&[event(-HOUR, "b"), event(0, "d")]).await;
    world.advance(5);
    world.put(&[event(-2 * HOUR, "a"), event(-1, "c")]).await;
    let page = world.get(get_request()).await;
    assert_eq!(messages(&page), ["a", "b", "c", "d"]);
    let first = &page.events.as_ref().unwrap()[0];
    assert_eq!((first.timestamp, first.ingestion_time), (Some(NOW - 2 * HOUR), Some(NOW + 5)));
}

#[tokio::test]
async fn without_start_from_head_the_latest_page_comes_first() {
    let world = with_lines(10).await;
    let page = world.get(logs::GetLogEventsRequest { limit: Some(3), ..get_request() }).await;
    assert_eq!(messages(&page), ["7", "8", "9"]);
    let back = logs::GetLogEventsRequest { limit: Some(3), next_token: page.next_backward_token, ..get_request() };
    let page = world.get(back).await;
    assert_eq!(messages(&page), ["4", "5", "6"]);
    let forward = logs::GetLogEventsRequest { limit: Some(9), next_token: page.next_forward_token, ..get_request() };
    assert_eq!(messages(&world.get(forward).await), ["7", "8", "9"]);
}

#[tokio::test]
async fn with_start_from_head_the_earliest_page_comes_first() {
    let world = with_lines(10).await;
    let head = logs::GetLogEventsRequest { start_from_head: Some(true), limit: Some(4), ..get_request() };
    let page = world.get(head).await;
    assert_eq!(messages(&page), ["0", "1", "2", "3"]);
    let on = logs::GetLogEventsRequest { limit: Some(4), next_token: page.next_forward_token, ..get_request() };
    assert_eq!(messages(&world.get(on).await), ["4", "5", "6", "7"]);
}

#[tokio::test]
async fn at_the_end_the_same_token_comes_back_until_there_is_more() {
    let world = with_lines(3).await;
    let page = world.get(get_request()).await;
    let on = logs::GetLogEventsRequest { next_token: page.next_forward_token.clone(), ..get_request() };
    let end = world.get(on.clone()).await;
    assert!(messages(&end).is_empty());
    assert_eq!(end.next_forward_token, page.next_forward_token);
    // The way back begins with what was seen last.
    let back = logs::GetLogEventsRequest { limit: Some(1), next_token: end.next_backward_token, ..get_request() };
    assert_eq!(messages(&world.get(back).await), ["2"]);
    world.put(&[event(3, "3")]).await;
    assert_eq!(messages(&world.get(on).await), ["3"]);
}

#[tokio::test]
async fn at_the_beginning_the_same_backward_token_comes_back() {
    let world = with_lines(3).await;
    let page = world.get(get_request()).await;
    let back = logs::GetLogEventsRequest { next_token: page.next_backward_token.clone(), ..get_request() };
    let start = world.get(back).await;
    assert!(messages(&start).is_empty());
    assert_eq!(start.next_backward_token, page.next_backward_token);
    let on = logs::GetLogEventsRequest { next_token: start.next_forward_token, ..get_request() };
    assert_eq!(messages(&world.get(on).await), ["0", "1", "2"]);
}

#[tokio::test]
async fn an_empty_stream_gives_a_token_that_finds_what_comes() {
    let world = with_lines(0).await;
    let page = world.get(get_request()).await;
    assert!(messages(&page).is_empty());
    world.put(&[event(0, "first")]).await;
    let on = logs::GetLogEventsRequest { next_token: page.next_forward_token, ..get_request() };
    assert_eq!(messages(&world.get(on).await), ["first"]);
}

#[tokio::test]
async fn the_start_of_a_time_range_counts_and_its_end_does_not() {
    let world = with_lines(10).await;
    let range = logs::GetLogEventsRequest { start_time: Some(NOW + 3), end_time: Some(NOW + 6), ..get_request() };
    assert_eq!(messages(&world.get(range).await), ["3", "4", "5"]);
}

#[tokio::test]
async fn a_page_holds_one_mebibyte_of_events() {
    let world = World::new().await;
    world.create_stream().await;
    for number in 0..3 {
        world.put(&[event(number, &"x".repeat(500_000))]).await;
    }
    assert_eq!(messages(&world.get(get_request()).await).len(), 2);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let world = with_lines(1).await;
    for token in ["x", "f/12/s", "z/00000000000000000000000000000000000000000000000000000000/s"] {
        let input = logs::GetLogEventsRequest { next_token: Some(token.into()), ..get_request() };
        assert_eq!(code(world.service.get_log_events(&world.context, input).await), "InvalidParameterException");
    }
}

#[tokio::test]
async fn random_puts_read_back_sorted_in_both_directions_by_pages_of_any_size() {
    for seed in 0..8 {
        let random = SeededRandom::new(seed);
        let world = World::new().await;
        world.create_stream().await;
        world.try_create_stream(GROUP, "other").await.unwrap();
        let mut expected = Vec::new();
        for put in 0..60 {
            let start = i64::try_from(random.below(10_000)).unwrap();
            let mut events: Vec<_> = (0..=random.below(5))
                .map(|number| {
                    let at = start + i64::try_from(random.below(3_000)).unwrap();
                    event(at, &format!("{put}/{number}"))
                })
                .collect();
            events.sort_by_key(|event| event.timestamp);
            world.put(&events).await;
            world.put_to("other", &[event(start, "other")]).await.unwrap();
            expected.extend(events.into_iter().map(|event| (event.timestamp, event.message)));
        }
        expected.sort();
        let limit = Some(1 + i32::try_from(random.below(20)).unwrap());
        for head in [true, false] {
            let mut input = logs::GetLogEventsRequest { limit, start_from_head: Some(head), ..get_request() };
            let mut seen = Vec::new();
            loop {
                let page = world.get(input.clone()).await;
                let events = page.events.unwrap();
                if events.is_empty() {
                    break;
                }
                let events = events.into_iter().map(|event| (event.timestamp, event.message));
                if head {
                    seen.extend(events);
                } else {
                    seen.splice(0..0, events);
                }
                input.next_token = if head { page.next_forward_token } else { page.next_backward_token };
            }
            assert!(seen.is_sorted_by_key(|(timestamp, _)| *timestamp), "seed {seed}");
            seen.sort();
            assert_eq!(seen, expected, "seed {seed} from head {head}");
        }
    }
}

async fn three_streams() -> World {
    let world = World::new().await;
    world.create_group(GROUP).await;
    for name in ["web/1", "web/2", "db/1"] {
        world.try_create_stream(GROUP, name).await.unwrap();
    }
    for number in 0..4 {
        world.put_to("web/1", &[event(number * 10, &format!("GET {number}"))]).await.unwrap();
        world.put_to("web/2", &[event(number * 10 + 1, &format!("POST {number}"))]).await.unwrap();
        world.put_to("db/1", &[event(number * 10 + 2, &format!("SELECT {number}"))]).await.unwrap();
    }
    world
}

fn filter_request() -> logs::FilterLogEventsRequest {
    logs::FilterLogEventsRequest { log_group_name: Some(GROUP.into()), ..Default::default() }
}

fn texts(events: &[logs::FilteredLogEvent]) -> Vec<&str> {
    events.iter().filter_map(|event| event.message.as_deref()).collect()
}

#[tokio::test]
async fn a_filter_interleaves_streams_by_time() {
    let world = three_streams().await;
    let events = world.filter_all(filter_request()).await;
    assert_eq!(events.len(), 12);
    assert!(events.is_sorted_by_key(|event| event.timestamp));
    assert!(events.is_sorted_by_key(|event| event.event_id.clone()));
    assert_eq!(texts(&events[..4]), ["GET 0", "POST 0", "SELECT 0", "GET 1"]);
    assert_eq!(events[1].log_stream_name.as_deref(), Some("web/2"));
}

// spec: 07-022
#[tokio::test]
async fn a_filter_finds_what_matches_its_pattern() {
    let world = three_streams().await;
    assert_eq!(world.filter("SELECT").await.len(), 4);
    assert_eq!(world.filter("?GET ?POST").await.len(), 8);
    assert_eq!(world.filter("[verb = G*, number > 1]").await, ["GET 2", "GET 3"]);
    let wrong = logs::FilterLogEventsRequest { filter_pattern: Some("\"open".into()), ..filter_request() };
    assert_eq!(code(world.service.filter_log_events(&world.context, wrong).await), "InvalidParameterException");
}

#[tokio::test]
async fn a_filter_reads_the_named_streams_only() {
    let world = three_streams().await;
    let named = |names: &[&str]| logs::FilterLogEventsRequest {
        log_stream_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..filter_request()
    };
    assert_eq!(world.filter_all(named(&["web/1", "db/1"])).await.len(), 8);
    let prefix = logs::FilterLogEventsRequest { log_stream_name_prefix: Some("web/".into()), ..filter_request() };
    assert_eq!(world.filter_all(prefix.clone()).await.len(), 8);
    let missing = world.service.filter_log_events(&world.context, named(&["nope"])).await;
    assert_eq!(code(missing), "ResourceNotFoundException");
    let both = logs::FilterLogEventsRequest { log_stream_names: Some(vec!["web/1".into()]), ..prefix };
    assert_eq!(code(world.service.filter_log_events(&world.context, both).await), "InvalidParameterException");
}

#[tokio::test]
async fn a_filter_counts_both_ends_of_its_time_range() {
    let world = three_streams().await;
    let range = |start, end| logs::FilterLogEventsRequest {
        start_time: Some(NOW + start),
        end_time: Some(NOW + end),
        ..filter_request()
    };
    let events = world.filter_all(range(10, 20)).await;
    assert_eq!(texts(&events), ["GET 1", "POST 1", "SELECT 1", "GET 2"]);
    let wrong = world.service.filter_log_events(&world.context, range(20, 10)).await;
    assert_eq!(code(wrong), "InvalidParameterException");
}

#[tokio::test]
async fn a_filter_comes_in_pages_in_both_directions() {
    let world = three_streams().await;
    let all: Vec<_> = world.filter_all(filter_request()).await;
    let paged = logs::FilterLogEventsRequest { limit: Some(5), ..filter_request() };
    assert_eq!(world.filter_all(paged.clone()).await, all);
    let first = world.service.filter_log_events(&world.context, paged.clone()).await.unwrap();
    assert_eq!(first.events.unwrap().len(), 5);
    assert_eq!(first.searched_log_streams, Some(vec![]));
    let backward = logs::FilterLogEventsRequest { start_from_head: Some(false), ..paged };
    let mut reversed = world.filter_all(backward).await;
    reversed.reverse();
    assert_eq!(reversed, all);
}

#[tokio::test]
async fn a_follower_gets_events_as_they_arrive_until_the_group_goes() {
    let world = three_streams().await;
    let mut one = world.store.follow(&world.scope(), GROUP, Streams::Named(vec!["web/1".into()])).await.unwrap();
    let mut all = world.store.follow(&world.scope(), GROUP, Streams::All).await.unwrap();
    let reading = async { (one.next().await.unwrap().unwrap(), all.next().await.unwrap().unwrap()) };
    let writing = async {
        world.put_to("db/1", &[event(100, "SELECT 4")]).await.unwrap();
        world.put_to("web/1", &[event(-HOUR, "GET late")]).await.unwrap();
    };
    let ((of_one, of_all), ()) = tokio::join!(reading, writing);
    assert_eq!(of_one[0].event.message, "GET late");
    assert_eq!(of_all[0].event.message, "SELECT 4");
    let delete = logs::DeleteLogGroupRequest { log_group_name: Some(GROUP.into()) };
    let (rest, deleted) = tokio::join!(one.next(), world.service.delete_log_group(&world.context, delete));
    deleted.unwrap();
    assert_eq!(rest.unwrap(), None);
}

#[tokio::test]
async fn many_streams_share_one_file() {
    let world = World::new().await;
    world.create_group(GROUP).await;
    for number in 0..40 {
        let name = format!("s{number}");
        world.try_create_stream(GROUP, &name).await.unwrap();
        world.put_to(&name, &[event(number, &name)]).await.unwrap();
    }
    assert!(world.files().len() <= 2, "{:?}", world.files());
    let input = logs::GetLogEventsRequest { log_stream_name: Some("s17".into()), ..get_request() };
    assert_eq!(messages(&world.get(input).await), ["s17"]);
    assert_eq!(world.filter("").await.len(), 40);
}
