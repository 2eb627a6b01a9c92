//! The numbers of a span of time, in bounded memory.
//!
//! In: numbers with rising times. Out: their sum, extremes, slope.
//! Invariant: at most [`CELLS`] cells and one; a span holds what is newer than `newest - span` (the left end is excluded).
//! Source: ordinary least squares; Theil (1950) and Sen (1968) for the median of slopes.
//!
//! A cell is the numbers of one 720th of the span. Readings that come more slowly than that stand alone in their cells, and all results are exact; of
//! faster ones a slope is that of the cells' means, and the cell leaves as a whole when its newest number does.

use std::collections::VecDeque;
use std::time::Duration;

use crate::alarm::condition::ms;
use crate::clock::Timestamp;

/// Cells of a trail.
const CELLS: i64 = 720;
/// Cells that Theil-Sen looks at: pairs grow with the square.
const PAIRED: usize = 60;

/// How a slope is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Method {
    /// Between the first and the last number.
    EndPoint,
    /// Least squares.
    LeastSquares,
    /// Median of all pairs' slopes: one spike does not move it.
    TheilSen,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    number: i64,
    first_at: i64,
    last_at: i64,
    count: f64,
    /// Sum of milliseconds after `first_at`.
    times: f64,
    sum: f64,
    min: f64,
    max: f64,
    first: f64,
    last: f64,
    /// Milliseconds that these numbers speak for.
    covered: f64,
    /// One of the numbers is a bound only.
    bound: bool,
}

impl Cell {
    /// Mean time in milliseconds after `origin`, and mean.
    fn mean(&self, origin: i64) -> (f64, f64) {
        ((self.first_at - origin) as f64 + self.times / self.count, self.sum / self.count)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    span: i64,
    width: i64,
    cells: VecDeque<Cell>,
}

impl Trail {
    /// An empty trail of `span`.
    pub(crate) fn new(span: Duration) -> Self {
        Self::fine(span, CELLS)
    }

    /// An empty trail of `span` in that many cells.
    pub(crate) fn fine(span: Duration, cells: i64) -> Self {
        let span = ms(span).max(1);
        Self { span, width: (span / cells.max(1)).max(1), cells: VecDeque::new() }
    }

    /// Takes a number that speaks for `covered` of time before it.
    pub(crate) fn push(&mut self, at: Timestamp, value: f64, bound: bool, covered: Duration) {
        let at = at.as_millis();
        let number = at.div_euclid(self.width);
        let covered = ms(covered) as f64;
        match self.cells.back_mut().filter(|cell| cell.number == number) {
            Some(cell) => {
                cell.last_at = at;
                cell.count += 1.0;
                cell.times += (at - cell.first_at) as f64;
                cell.sum += value;
                cell.min = cell.min.min(value);
                cell.max = cell.max.max(value);
                cell.last = value;
                cell.covered += covered;
                cell.bound |= bound;
            }
            None => self.cells.push_back(Cell {
                number,
                first_at: at,
                last_at: at,
                count: 1.0,
                times: 0.0,
                sum: value,
                min: value,
                max: value,
                first: value,
                last: value,
                covered,
                bound,
            }),
        }
        self.prune(at);
    }

    /// Lets go what is older than the span at this time.
    pub(crate) fn age(&mut self, at: Timestamp) {
        self.prune(at.as_millis());
    }

    fn prune(&mut self, at: i64) {
        while self.cells.front().is_some_and(|cell| cell.last_at <= at - self.span) {
            self.cells.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.cells.clear();
    }

    /// Numbers in the span.
    pub(crate) fn count(&self) -> f64 {
        self.cells.iter().map(|cell| cell.count).sum()
    }

    /// From the first to the last number.
    pub(crate) fn reach(&self) -> Duration {
        let (Some(first), Some(last)) = (self.cells.front(), self.cells.back()) else {
            return Duration::ZERO;
        };
        Duration::from_millis(u64::try_from(last.last_at - first.first_at).unwrap_or(0))
    }

    /// Share of the span that the numbers speak for.
    pub(crate) fn covered(&self) -> f64 {
        self.cells.iter().map(|cell| cell.covered).sum::<f64>() / self.span as f64
    }

    /// Whether one of the numbers is a bound only.
    pub(crate) fn bound(&self) -> bool {
        self.cells.iter().any(|cell| cell.bound)
    }

    pub(crate) fn sum(&self) -> f64 {
        self.cells.iter().map(|cell| cell.sum).sum()
    }

    /// Sum and covered milliseconds of what is newer than `back` before `at`.
    pub(crate) fn sum_since(&self, at: Timestamp, back: Duration) -> (f64, f64) {
        let from = at.as_millis() - ms(back);
        let newer = self.cells.iter().rev().take_while(|cell| cell.last_at > from);
        newer.fold((0.0, 0.0), |(sum, covered), cell| (sum + cell.sum, covered + cell.covered))
    }

    pub(crate) fn min(&self) -> f64 {
        self.cells.iter().fold(f64::INFINITY, |least, cell| least.min(cell.min))
    }

    pub(crate) fn max(&self) -> f64 {
        self.cells.iter().fold(f64::NEG_INFINITY, |most, cell| most.max(cell.max))
    }

    /// The oldest number.
    pub(crate) fn first(&self) -> Option<f64> {
        self.cells.front().map(|cell| cell.first)
    }

    /// The newest number.
    pub(crate) fn last(&self) -> Option<f64> {
        self.cells.back().map(|cell| cell.last)
    }

    /// Slope per minute; `None` when no time lies between the numbers.
    pub(crate) fn slope(&self, method: Method) -> Option<f64> {
        let per_ms = match method {
            Method::EndPoint => {
                let (first, last) = (self.cells.front()?, self.cells.back()?);
                let way = (last.last_at - first.first_at) as f64;
                (way > 0.0).then(|| (last.last - first.first) / way)
            }
            Method::LeastSquares => self.least_squares(),
            Method::TheilSen => self.theil_sen(),
        };
        per_ms.map(|slope| slope * 60_000.0)
    }

    fn least_squares(&self) -> Option<f64> {
        let origin = self.cells.front()?.first_at;
        let (mut weight, mut time, mut value) = (0.0, 0.0, 0.0);
        for cell in &self.cells {
            let (at, mean) = cell.mean(origin);
            weight += cell.count;
            time += at * cell.count;
            value += mean * cell.count;
        }
        let (time, value) = (time / weight, value / weight);
        let (mut both, mut square) = (0.0, 0.0);
        for cell in &self.cells {
            let (at, mean) = cell.mean(origin);
            both += cell.count * (at - time) * (mean - value);
            square += cell.count * (at - time) * (at - time);
        }
        (square > 0.0).then(|| both / square)
    }

    fn theil_sen(&self) -> Option<f64> {
        let origin = self.cells.front()?.first_at;
        let step = self.cells.len().div_ceil(PAIRED).max(1);
        let points: Vec<(f64, f64)> = self.cells.iter().step_by(step).map(|cell| cell.mean(origin)).collect();
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        for (index, (at, value)) in points.iter().enumerate() {
            for (later, next) in points.iter().skip(index + 1) {
                slopes.push((next - value) / (later - at));
            }
        }
        median(&mut slopes)
    }
}

/// The median of numbers, which are sorted by it.
pub(crate) fn median(numbers: &mut [f64]) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    if numbers.len() % 2 == 1 {
        return Some(upper);
    }
    numbers.get(middle.checked_sub(1)?).map(|lower| f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::condition::tests::{at, near, vectors};

    #[test]
    fn the_slopes_of_a_falling_gas_pressure() {
        let vectors = vectors();
        let rate = &vectors["rate"];
        let mut trail = Trail::new(Duration::from_secs(300));
        for (t, p) in rate["t_s"].as_array().unwrap().iter().zip(rate["kpa"].as_array().unwrap()) {
            trail.push(at(t.as_f64().unwrap()), p.as_f64().unwrap(), false, Duration::ZERO);
        }
        for (method, key) in [
            (Method::EndPoint, "end_point_per_min"),
            (Method::LeastSquares, "least_squares_per_min"),
            (Method::TheilSen, "theil_sen_per_min"),
        ] {
            near(trail.slope(method).unwrap(), rate[key].as_f64().unwrap(), 1e-9);
        }
    }

    #[test]
    fn memory_is_bounded_and_the_left_end_is_excluded() {
        let mut trail = Trail::new(Duration::from_secs(72));
        for tenth in 0..100_000_i32 {
            trail.push(at(f64::from(tenth) / 100.0), 1.0, false, Duration::ZERO);
        }
        assert!(trail.cells.len() <= 721, "{}", trail.cells.len());
        let mut trail = Trail::new(Duration::from_secs(60));
        trail.push(at(0.0), 1.0, false, Duration::ZERO);
        trail.push(at(60.0), 2.0, false, Duration::ZERO);
        near(trail.sum(), 2.0, 0.0);
    }

    #[test]
    fn one_time_has_no_slope() {
        let mut trail = Trail::new(Duration::from_secs(60));
        assert_eq!(trail.slope(Method::LeastSquares), None);
        trail.push(at(0.0), 1.0, false, Duration::ZERO);
        for method in [Method::EndPoint, Method::LeastSquares, Method::TheilSen] {
            assert_eq!(trail.slope(method), None, "{method:?}");
        }
    }
}
