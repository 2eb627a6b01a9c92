//! What the maintenance of a sensor hides is told, and an active red alarm is not hidden without a word.

use crate::reload_live::{Process, Trial};

const WORK: [&str; 8] = ["maintenance", "kept-1", "--for", "1h", "--reason", "bump test", "--by", "li"];

#[test]
fn maintenance_hides_no_active_red_alarm_without_a_substitute() {
    let trial = Trial::new();
    trial.site(&trial.base.replace("yellow = 5", "red = 5"));
    let gateway = Process::start(trial.folder.path(), &[]);
    gateway.until("in alarm", |status| status["alarms_open"] == 1);
    let (code, text) = gateway.ask(&WORK);
    assert_eq!(code, Some(1), "{text}");
    let told = "kept-1-high: an active red alarm would be hidden: say what watches the place meanwhile (`substitute`, on the command line --substitute)";
    assert!(text.contains(told), "{text}");
    let (_, text) = gateway.ask(&["alarms", "hidden"]);
    assert!(text.contains("no rule is shelved"), "{text}");

    let (code, text) = gateway.ask(&[&WORK[..], &["--substitute", "guard at the barrier"]].concat());
    assert!(code == Some(0) && text.contains("; guard at the barrier; bump test"), "{text}");
    assert!(text.contains(" kept-1-high: 红 red alarm, active, NOT acknowledged\n"), "{text}");
    // It is lengthened without saying it again.
    let (code, text) = gateway.ask(&[&WORK[..], &["--json"]].concat());
    let view: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, Some(0), "{text}");
    let hides = &view["hides"][0];
    assert_eq!((hides["rule"].as_str(), hides["severity"].as_str()), (Some("kept-1-high"), Some("red")));
    assert_eq!(view["permit"]["substitute"], "guard at the barrier", "{text}");
}

#[test]
fn maintenance_names_what_it_hides_or_says_that_it_is_nothing() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &[]);
    gateway.until("in alarm", |status| status["alarms_open"] == 1);
    let (code, text) = gateway.ask(&WORK);
    assert!(
        code == Some(0) && text.contains(" kept-1-high: 黄 yellow alarm, active, NOT acknowledged\n"),
        "{text}"
    );
    trial.site(&trial.base.replace("yellow = 5", "yellow = 500"));
    gateway.ask(&["maintenance", "kept-1", "--end", "--by", "li"]);
    gateway.ask(&["reload"]);
    gateway.until("calm", |status| status["alarms_active"] != 1);
    let (_, text) = gateway.ask(&["alarms", "--json"]);
    let open: serde_json::Value =
        serde_json::from_str(text.lines().next().unwrap_or("null")).unwrap_or_default();
    gateway.ask(&[
        "alarms",
        "ack",
        open["id"].as_str().unwrap_or_default(),
        "--severity",
        "yellow",
        "--by",
        "li",
    ]);
    let (code, text) = gateway.ask(&WORK);
    assert!(code == Some(0) && text.contains("it hides no open alarm\n"), "{text}");
}
