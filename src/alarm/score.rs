//! How well alarms meet what really happened.
//!
//! In: spans of alarms, spans of labelled events. Out: events met and missed, lead times, false alarms, time in alarm.
//! Invariant: an event is met by an alarm that is active between its start and its end and began no earlier than `early` before it, so that an alarm that always
//! stands meets nothing; an alarm is false when it touches no such event and no span that is left out, each widened by the margin.

use std::time::Duration;

use crate::alarm::{Change, Transition};
use crate::clock::Timestamp;

/// Days of a month, for rates.
const MONTH_DAYS: f64 = 30.44;

/// From and to.
pub type Span = (Timestamp, Timestamp);

/// What happened, as labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// An alarm is due.
    pub events: Vec<Span>,
    /// Neither right nor wrong.
    pub unsure: Vec<Span>,
}

/// The score of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Events.
    pub events: usize,
    /// Events with an alarm.
    pub met: usize,
    /// For each met event: seconds from the alarm to the event's start, negative when the alarm was late.
    pub leads_s: Vec<f64>,
    /// Alarms that no event stands behind.
    pub false_alarms: usize,
    /// All alarms.
    pub alarms: usize,
    /// Seconds in alarm.
    pub in_alarm_s: f64,
    /// Seconds looked at.
    pub span_s: f64,
}

/// When each alarm of `rule` became active and inactive; one that is active at `end` ends there.
pub fn spans<'a>(
    transitions: impl IntoIterator<Item = &'a Transition>,
    rule: &str,
    end: Timestamp,
) -> Vec<Span> {
    let (mut spans, mut from) = (Vec::new(), None);
    for transition in transitions.into_iter().filter(|transition| transition.alarm.rule == rule) {
        match transition.change {
            Change::Raised | Change::Reraised => from = from.or(Some(transition.at)),
            Change::Cleared => spans.extend(from.take().map(|from| (from, transition.at))),
            _ => {}
        }
    }
    spans.extend(from.map(|from| (from, end)));
    spans
}

impl Score {
    /// Scores alarms between `from` and `to` against the labels that begin there.
    pub fn of(
        alarms: &[Span],
        labels: &Labels,
        (margin, early): (Duration, Duration),
        (from, to): Span,
    ) -> Self {
        let inside = |span: &&Span| from <= span.0 && span.0 < to;
        let touches = |one: &Span, other: &Span| one.0 <= other.1 && other.0 <= one.1;
        let wide = |span: &Span| (span.0.minus(margin), span.1.plus(margin));
        let timely = |alarm: &Span, event: &Span| event.0.minus(early) <= alarm.0;
        let mut score = Self { span_s: to.since(from).as_secs_f64(), ..Self::default() };
        for event in labels.events.iter().filter(inside) {
            score.events += 1;
            if let Some(first) = alarms.iter().find(|alarm| touches(alarm, event) && timely(alarm, event)) {
                score.met += 1;
                score.leads_s.push(lead_s(first.0, event.0));
            }
        }
        for alarm in alarms.iter().filter(inside) {
            score.alarms += 1;
            score.in_alarm_s += alarm.1.min(to).since(alarm.0).as_secs_f64();
            let met = |event: &Span| touches(alarm, &wide(event)) && timely(alarm, event);
            let right =
                labels.events.iter().any(met) || labels.unsure.iter().any(|span| touches(alarm, &wide(span)));
            score.false_alarms += usize::from(!right);
        }
        score
    }

    /// The scores of several series as one.
    pub fn sum(scores: impl IntoIterator<Item = Self>) -> Self {
        scores.into_iter().fold(Self::default(), |mut sum, one| {
            sum.events += one.events;
            sum.met += one.met;
            sum.leads_s.extend(one.leads_s);
            sum.false_alarms += one.false_alarms;
            sum.alarms += one.alarms;
            sum.in_alarm_s += one.in_alarm_s;
            sum.span_s += one.span_s;
            sum
        })
    }

    /// `2 TP / (2 TP + FN + FP)`: 1 when every event is met and no alarm is false.
    pub fn f1(&self) -> f64 {
        let (met, wrong) = (self.met as f64, (self.events - self.met + self.false_alarms) as f64);
        if met + wrong <= 0.0 { 1.0 } else { 2.0 * met / (2.0 * met + wrong) }
    }

    /// Median lead in seconds.
    pub fn lead_s(&self) -> Option<f64> {
        crate::alarm::condition::trail::median(&mut self.leads_s.clone())
    }

    /// False alarms a month.
    pub fn false_per_month(&self) -> f64 {
        self.false_alarms as f64 * MONTH_DAYS * 86_400.0 / self.span_s.max(1.0)
    }

    /// Percent of the time in alarm.
    pub fn in_alarm_percent(&self) -> f64 {
        100.0 * self.in_alarm_s / self.span_s.max(1.0)
    }
}

fn lead_s(alarm: Timestamp, event: Timestamp) -> f64 {
    (event.as_millis() - alarm.as_millis()) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> Span {
        (Timestamp::from_millis(from * 1000), Timestamp::from_millis(to * 1000))
    }

    fn spans(margin: u64, early: u64) -> (Duration, Duration) {
        (Duration::from_secs(margin), Duration::from_secs(early))
    }

    #[test]
    fn met_missed_false_and_left_out() {
        let labels = Labels {
            events: vec![span(100, 200), span(500, 600), span(5_000, 6_000)],
            unsure: vec![span(900, 950)],
        };
        let alarms = [span(90, 150), span(700, 720), span(960, 970), span(4_000, 4_100)];
        let score = Score::of(&alarms, &labels, spans(20, 1_000), span(0, 2_000));
        assert_eq!((score.events, score.met, score.alarms, score.false_alarms), (2, 1, 3, 1));
        assert_eq!(score.lead_s(), Some(10.0));
        assert!((score.in_alarm_percent() - 100.0 * 90.0 / 2_000.0).abs() < 1e-9);
        assert!((score.f1() - 0.5).abs() < 1e-9);
        let both = Score::sum([score.clone(), score]);
        assert_eq!((both.events, both.false_alarms), (4, 2));
    }

    #[test]
    fn an_event_that_began_before_the_alarm_has_a_negative_lead() {
        let labels = Labels { events: vec![span(100, 200)], unsure: vec![] };
        let score = Score::of(&[span(130, 300)], &labels, spans(0, 60), span(0, 1_000));
        assert_eq!((score.met, score.lead_s()), (1, Some(-30.0)));
        let always = Score::of(&[span(0, 1_000)], &labels, spans(0, 60), span(0, 1_000));
        assert_eq!((always.met, always.false_alarms), (0, 1), "an alarm that always stands meets nothing");
    }
}
