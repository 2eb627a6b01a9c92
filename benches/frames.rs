//! Damaged frames through each receiver: how many of ten million give a false value.
//!
//! `cargo bench --bench frames -- 10000000`. Light damage is what the check sum is sure to see: up to three flipped bits or
//! a burst of up to 16 bits for the CRC of RTU, one changed character for the LRC of ASCII. Heavy damage may be anything,
//! so that a CRC lets 1 of 65,536 pass and an LRC 1 of 256, as far as slave, function and length still fit; MBAP has no
//! check sum of its own, and what TCP delivers is taken for sound, so there only frames of other transactions and
//! impossible headers count.

#![expect(clippy::unwrap_used, reason = "a bench panics when it is wrong")]

use std::time::Instant;

#[path = "../tests/damage/mod.rs"]
mod damage;

fn main() {
    let count = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    for (name, way) in damage::WAYS {
        #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
        let begun = Instant::now();
        let found = damage::count(*way, count, 1);
        println!(
            "frames: {name}: {count} damaged frames, {} false values, {} whole in spite of it, {:.1} s",
            found.wrong,
            found.right,
            begun.elapsed().as_secs_f64()
        );
    }
}
