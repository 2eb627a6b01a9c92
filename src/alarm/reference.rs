//! The reference page of alarms, in Markdown: printed from the lifecycle's table, from the doubts' entries and from the limits in force.
//!
//! In: nothing. Out: the text of `docs/reference/alarm.md`. Invariant: what the code decides is printed from the code.

use std::fmt::Write as _;
use std::time::Duration;

use crate::alarm::acts::{AFTERMATH, UNVERIFIABLE};
use crate::alarm::chatter::{CHATTER_WINDOW, FLEETING, QUIET};
use crate::alarm::condition::Entry;
use crate::alarm::load::{FLOOD_OVER, FLOOD_UNDER, RATE, WINDOW};
use crate::alarm::overlay::{HAND_MAX, PERMIT_MAX, SHELF_MAX};
use crate::alarm::{Direction, Severity, lifecycle};
use crate::reading::{Doubt, Reason, Sample};

/// The whole page.
pub fn page() -> String {
    let mut page = lifecycle::reference();
    doubts(&mut page);
    overlays(&mut page);
    rates(&mut page);
    severities(&mut page);
    page
}

fn doubts(page: &mut String) {
    page.push_str(
        "\n## What a reading may do\n\nA process alarm is raised and cleared by numbers alone.\n\n\
         | quality | rule looks above | rule looks below |\n| --- | --- | --- |\n",
    );
    let mut row = |name: &str, sample: Sample| {
        let cell = |direction| match Entry::of(&sample, direction) {
            Entry::Whole(_) => "may raise and clear",
            Entry::Raise(_) => "may raise, ends a run of numbers that would clear",
            Entry::Ignored => "says nothing",
            Entry::Frozen => "freezes the state and marks an active alarm `unverified`",
        };
        let _ = writeln!(page, "| {name} | {} | {} |", cell(Direction::Above), cell(Direction::Below));
    };
    row("good", Sample::Good(1.0));
    for doubt in Doubt::ALL {
        row(&format!("uncertain: {}", doubt.name()), Sample::Uncertain(1.0, doubt));
    }
    row("bad, whatever the reason", Sample::Bad(Reason::Timeout));
    let _ = write!(
        page,
        "\nAn active alarm that is unverified for {} makes the event `unverifiable`, which tells a person. \
         A device that gives no number is an alarm of its own, `DEVICE-stale` of kind `sensor`.\n",
        long(UNVERIFIABLE)
    );
}

fn overlays(page: &mut String) {
    let _ = write!(
        page,
        "
## Overlays

An overlay hides an alarm and never moves its base state, which runs on below it.
Shown is the strongest: out of service, then suppressed, then shelved.
An alarm that comes out from below its last overlay while it is active is `active-unacknowledged` again and tells people.

| overlay | begins | ends | limits |
| --- | --- | --- | --- |
| shelved | a person, with a reason | its timer, a person, or a severity above the shelved one | {shelf}; never red; how often is counted |
| out of service | a person, with permit number, person responsible, from and to | the end of the permit, or a person | {permit}; a rule with a red level needs a substitute |
| suppressed by design | the rule's `suppress` point has a good number that is not 0 | the point has been 0 or bad for `off_delay` | up to `up_to`, at most orange; bad data never hides |
| explained by another alarm | that alarm is active: a line's for the silence of its devices, or a rule with `explains` | {aftermath} after that alarm is gone | not above that alarm's severity |
| raised by hand (提级响应) | a person, with a reason | its timer; then the measured severity counts again | {hand}; upwards only; voids the acknowledgement |

A drill (演练) is an alarm of the rule `NAME.drill` with an occurrence of its own; it hides nothing and is counted nowhere.

| what a person does | command | `POST /api/v1/alarms/TARGET/...` | keys beside `by` |
| --- | --- | --- | --- |
| acknowledge | `lifeline alarms ack TARGET --severity S` | `ack` | `severity` seen, `note` |
| reset a latched alarm, end a drill | `lifeline alarms reset TARGET` | `reset` | `reason` |
| shelve | `lifeline alarms shelve TARGET --for 2h --reason R` | `shelve` | `seconds`, `reason`, `severity` seen |
| end a shelf | `lifeline alarms unshelve TARGET` | `unshelve` | `reason` |
| out of service | `lifeline alarms out-of-service TARGET --permit N --responsible P --to T` | `out-of-service` | `permit`, `responsible`, `to`, `from`, `substitute` |
| back in service | `lifeline alarms return TARGET` | `return` | `reason` |
| raise by hand | `lifeline alarms raise TARGET --severity S --for 1h --reason R` | `raise` | `severity`, `seconds`, `reason` |
| drill | `lifeline alarms drill RULE --severity S --for 20m --reason R` | `drill` | `severity`, `seconds`, `reason` |
| prove that notices get out | `lifeline alarms test [--sink NAME]` | `drill` of a rule, then `reset`; `proved` in `GET /api/v1/status` | |
| maintenance of a sensor | `lifeline maintenance DEVICE --for 2h --reason R --role P`, `--end` | `maintenance`, `maintained`; TARGET is the device; `hides` of the answer names the open alarms | `seconds`, `reason`, `responsible`, `substitute` |
| what is hidden | `lifeline alarms hidden` | `GET /api/v1/overlays` | |

TARGET is an alarm's id or a rule's name.

`lifeline alarms` and `GET /api/v1/alarms` have two numbers of an open alarm: `value` made its last change, and `now` is what its rule judges at this moment (`time`, `value`, `unit`, `state`, `quality`, `reason`).
`now` is the reading of the rule's point, or the rise, sum, time or vote that the rule makes of readings; it is a reason such as `timeout` where there is no number, and absent for a rule over several conditions.
From a journal on disk it is the last reading, with its age; a number that a rule makes is not known there.
",
        shelf = long(SHELF_MAX),
        permit = long(PERMIT_MAX),
        aftermath = long(AFTERMATH),
        hand = long(HAND_MAX),
    );
}

fn rates(page: &mut String) {
    let _ = write!(
        page,
        "
## Chatter, floods and rates

- Three times active within {chatter} is `chattering`: the off-delay doubles with each further burst, up to {quiet}; a red alarm stays active until {quiet} are quiet. It is over after {quiet} without becoming active.
- Active for less than {fleeting} and gone before anybody saw it is `fleeting`.
- More than {FLOOD_OVER} new alarms in {window} are a flood, fewer than {FLOOD_UNDER} end it: the alarm `gateway-flood`.
- Counted is what tells a person. Up to {acceptable} in {window}, mean of an hour, is `acceptable`, up to {manageable} `manageable`, more `too many` (ISA-18.2): `lifeline alarms --rates`, `GET /api/v1/rates`, which also name what has been active for more than a day and the rules that talk most.
",
        chatter = long(CHATTER_WINDOW),
        quiet = long(QUIET),
        fleeting = long(FLEETING),
        window = long(WINDOW),
        acceptable = RATE.0,
        manageable = RATE.1,
    );
}

fn severities(page: &mut String) {
    page.push_str(
        "\n## Severities\n\nPrograms compare ordinals; colours and words are for people.\n\n\
         | ordinal | colour | grade | gas-concentration | water-level | displacement, tilt |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for severity in Severity::ALL {
        let ((chinese, english), (grade, meaning)) = (severity.colour(), severity.grade());
        let word = |class| severity.word(class).map_or("", |(chinese, _)| chinese);
        let _ = writeln!(
            page,
            "| {} | {chinese} {english} | {grade}, {meaning} | {} | {} | {} |",
            severity.ordinal(),
            word("gas-concentration"),
            word("water-level"),
            word("displacement"),
        );
    }
    page.push_str(
        "\nLatched without a word of the document: red of a gas concentration, red of an entrapment, a slam-shut valve, a rock-fall switch. \
         `latched = true`, `false` or a colour decides otherwise.\n",
    );
}

fn long(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
