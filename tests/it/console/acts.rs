//! What a person does through the console reaches the core, and the core's answer the person.

use lifeline_gateway::alarm::Severity;
use lifeline_gateway::alarm::desk::Act;
use lifeline_gateway::gateway::board::Refused;
use lifeline_gateway::gateway::core::Event;
use tokio::sync::mpsc;

use crate::console::{TOKEN, at, core_answers, get, post, served};

const ACK: &str = r#"{"severity":"red","by":"李雷","note":"called the gas company"}"#;

#[tokio::test]
async fn an_acknowledgement_goes_to_the_core_and_back() {
    let mut served = served().await;
    let mut commands = std::mem::replace(&mut served.commands, mpsc::channel(1).1);
    let path = "/api/v1/alarms/0000000000000002/ack";
    let (event, (status, body)) =
        tokio::join!(core_answers(&mut commands, None), post(&served, path, Some(TOKEN), ACK));
    assert_eq!((status, body["id"].as_str()), (200, Some("0000000000000002")));
    let (id, by, note) =
        ("0000000000000002".to_owned(), "李雷".to_owned(), Some("called the gas company".to_owned()));
    assert_eq!(event, Event::Acknowledge { id, seen: Severity::Red, by, note });

    let refused = Some("it has risen to red since");
    let (_, (status, body)) =
        tokio::join!(core_answers(&mut commands, refused), post(&served, path, Some(TOKEN), ACK));
    assert_eq!((status, body["error"].as_str()), (409, refused));

    let path = "/api/v1/alarms/0000000000000002/reset";
    let (event, (status, _)) =
        tokio::join!(core_answers(&mut commands, None), post(&served, path, Some(TOKEN), r#"{"by":"x"}"#));
    assert_eq!(status, 200);
    assert_eq!(
        event,
        Event::Act { target: "0000000000000002".to_owned(), act: Act::Reset, by: "x".to_owned(), note: None }
    );
}

/// A rule's name stands for its open alarm where it has exactly one, as it does on the command line.
#[tokio::test]
async fn an_alarm_is_acknowledged_by_the_name_of_its_rule() {
    let mut served = served().await;
    let mut commands = std::mem::replace(&mut served.commands, mpsc::channel(1).1);
    let mut alarms = served.board.picture.read().unwrap().alarms.clone();
    alarms.get_mut("0000000000000002").unwrap().rule = "level-high".to_owned();
    served.board.picture.write().unwrap().alarms = alarms;
    let path = "/api/v1/alarms/level-high/ack";
    let (event, (status, body)) =
        tokio::join!(core_answers(&mut commands, None), post(&served, path, Some(TOKEN), ACK));
    assert_eq!((status, body["id"].as_str()), (200, Some("0000000000000002")));
    assert!(matches!(event, Event::Acknowledge { id, .. } if id == "0000000000000002"));
    // Of several nobody can say which one is meant.
    let path = "/api/v1/alarms/outlet-pressure-high/ack";
    let (event, _) = tokio::join!(core_answers(&mut commands, None), post(&served, path, Some(TOKEN), ACK));
    assert!(matches!(event, Event::Acknowledge { id, .. } if id == "outlet-pressure-high"));
}

/// What each refusal of the core comes to for the person: what is so now, and what to do.
#[tokio::test]
async fn a_refusal_says_what_to_do() {
    use lifeline_gateway::alarm::lifecycle::Refusal;
    let mut served = served().await;
    let mut commands = std::mem::replace(&mut served.commands, mpsc::channel(1).1);
    let seen = Some(("王芳".to_owned(), at("2026-11-23T08:01:00.000Z")));
    let alarms = &mut served.board.picture.write().unwrap().alarms.clone();
    alarms.get_mut("0000000000000002").unwrap().acknowledged = seen;
    served.board.picture.write().unwrap().alarms = alarms.clone();
    let path = |act: &str| format!("/api/v1/alarms/0000000000000002/{act}");
    let work = r#"{"by":"x","reason":"y","seconds":60,"responsible":"z"}"#;
    for (act, body, refusal, told) in [
        (
            "ack",
            ACK,
            Refusal::AlreadyAcknowledged,
            "already acknowledged by 王芳 at 2026-11-23 16:01:00 +08:00",
        ),
        (
            "ack",
            ACK,
            Refusal::Changed,
            "changed: the severity has risen since: outlet-pressure-high is red now; look at it again, then say that severity",
        ),
        ("ack", ACK, Refusal::NothingToAcknowledge, "nothing to acknowledge"),
        ("ack", ACK, Refusal::NoSuchAlarm, "no such alarm is open; the list of alarms has the ids"),
        (
            "shelve",
            work,
            Refusal::RedStays,
            "a red alarm cannot be shelved; a permit takes its rule out of service (out-of-service)",
        ),
        (
            "reset",
            work,
            Refusal::StillActive,
            "the alarm is still active; it can be reset once its condition is gone",
        ),
        ("unshelve", work, Refusal::NotShelved, "it is not shelved: nothing had to be done"),
        ("return", work, Refusal::InService, "it is in service, and no permit waits: nothing had to be done"),
        ("maintenance", work, Refusal::NoSuchSensor, "no sensor of this name"),
        (
            "maintenance",
            work,
            Refusal::UnderPermit,
            "it is under a permit already; end that one first (return)",
        ),
    ] {
        let refused = refusal.to_string();
        let path = path(act);
        let (_, (status, answer)) = tokio::join!(
            core_answers(&mut commands, Some(&refused)),
            post(&served, &path, Some(TOKEN), body)
        );
        assert_eq!((status, answer["error"].as_str()), (409, Some(told)), "{act}");
    }
}

#[tokio::test]
async fn maintenance_says_what_it_needs() {
    let served = served().await;
    let path = "/api/v1/alarms/0000000000000002/maintenance";
    for (body, told) in [
        (r#"{"by":"x","seconds":60,"responsible":"z"}"#, "maintenance needs a reason"),
        (r#"{"by":"x","reason":"y","seconds":60}"#, "maintenance needs `responsible`"),
        (r#"{"by":"x","reason":"y","responsible":"z"}"#, "maintenance needs `seconds`, how long"),
    ] {
        let (status, answer) = post(&served, path, Some(TOKEN), body).await;
        assert_eq!((status, answer["error"].as_str()), (422, Some(told)));
    }
}

#[tokio::test]
async fn acts_that_are_not_in_order_never_reach_the_core() {
    let mut served = served().await;
    let path = "/api/v1/alarms/0000000000000002/ack";
    let long = format!(r#"{{"severity":"red","by":"{}"}}"#, "x".repeat(65));
    let huge = format!(r#"{{"severity":"red","by":"x","note":"{}"}}"#, "x".repeat(70_000));
    for (path, token, body, expected) in [
        (path, None, ACK, 401),
        (path, Some("wrong"), ACK, 401),
        (path, Some(&TOKEN[1..]), ACK, 401),
        ("/api/v1/alarms/nobody/ack", Some(TOKEN), ACK, 404),
        ("/api/v1/alarms/0000000000000002/silence", Some(TOKEN), r#"{"by":"x"}"#, 404),
        ("/api/v1/alarms/nobody/shelve", Some(TOKEN), r#"{"by":"x","reason":"y","seconds":60}"#, 404),
        ("/api/v1/alarms/0000000000000002/shelve", Some(TOKEN), r#"{"by":"x","seconds":60}"#, 422),
        ("/api/v1/alarms/0000000000000002/shelve", Some(TOKEN), r#"{"by":"x","reason":"y"}"#, 422),
        ("/api/v1/alarms/0000000000000002/raise", Some(TOKEN), r#"{"by":"x","reason":"y","seconds":9}"#, 422),
        (
            "/api/v1/alarms/0000000000000002/out-of-service",
            Some(TOKEN),
            r#"{"by":"x","permit":"7","to":"soon","responsible":"z"}"#,
            422,
        ),
        ("/api/v1/status", Some(TOKEN), ACK, 405),
        (path, Some(TOKEN), "{", 422),
        (path, Some(TOKEN), r#"{"severity":"red"}"#, 422),
        (path, Some(TOKEN), r#"{"severity":"purple","by":"x"}"#, 422),
        (path, Some(TOKEN), r#"{"severity":"red","by":"  "}"#, 422),
        (path, Some(TOKEN), r#"{"severity":"red","by":"a\u001b[2J"}"#, 422),
        (path, Some(TOKEN), &long, 422),
        (path, Some(TOKEN), &huge, 413),
    ] {
        let (status, answer) = post(&served, path, token, body).await;
        assert_eq!(status, expected, "{path} {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert!(served.commands.try_recv().is_err(), "the core heard nothing");
}

#[tokio::test]
async fn a_core_that_is_gone_is_said_so() {
    let mut served = served().await;
    served.commands.close();
    let (status, _) = post(&served, "/api/v1/alarms/0000000000000002/ack", Some(TOKEN), ACK).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn a_reload_needs_the_token_and_says_what_became_of_it() {
    let mut served = served().await;
    let (status, _) = post(&served, "/api/v1/reload", None, r#"{"by":"x"}"#).await;
    assert_eq!(status, 401);
    let (status, _, _) = get(&served, "/api/v1/documents").await;
    assert_eq!(status, 401, "documents are not for everybody on this box");
    let (_, mut reloads) = (&mut served, mpsc::channel(1).1);
    std::mem::swap(&mut served.reloads, &mut reloads);
    let refuse = async {
        let reload = reloads.recv().await.unwrap();
        assert_eq!(reload.by, "x");
        let refused = Refused { why: "site.toml:3:1: no".into(), report: "error[no]\n".into() };
        reload.answer.send(Err(refused)).unwrap();
    };
    let body = r#"{"by":"x"}"#;
    let ((), (status, answer)) = tokio::join!(refuse, post(&served, "/api/v1/reload", Some(TOKEN), body));
    assert!(status == 200 && answer["refused"] == "site.toml:3:1: no", "{answer}");
}
