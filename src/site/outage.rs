//! Ports where so many DTUs dial in that losing most of them at once has one cause.
//!
//! In: lines. Out: each such port with the name of the gateway's own point for it.
//! Invariant: a name is given once; it goes by the port's number, and by the whole address where two share that.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::bus::LineSettings;
use crate::site::LineSpec;
use crate::site::section::kebab;

/// Of fewer DTUs nobody can say what half of them means.
pub const LINES_MIN: usize = 4;

/// The ports of these lines with [`LINES_MIN`] DTUs and more, each with the short name of its point: `dial-in-5020`.
pub fn groups(lines: &[LineSpec]) -> Vec<(SocketAddr, String)> {
    groups_of(lines.iter().map(|line| &line.settings))
}

pub(crate) fn groups_of<'a>(lines: impl Iterator<Item = &'a LineSettings>) -> Vec<(SocketAddr, String)> {
    let mut counts: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for listen in lines.filter_map(|line| line.address.dials_in_at()) {
        *counts.entry(listen).or_default() += 1;
    }
    let named = |listen: &SocketAddr| {
        let alone = counts.keys().filter(|other| other.port() == listen.port()).count() == 1;
        let end = if alone { listen.port().to_string() } else { kebab(&listen.to_string()) };
        (*listen, format!("dial-in-{end}"))
    };
    counts.iter().filter(|(_, count)| LINES_MIN <= **count).map(|(listen, _)| named(listen)).collect()
}
