//! Damaged frames: what a check sum is sure to see never gives a value; what it may miss is counted for what it is.

#[path = "../damage/mod.rs"]
mod damage;

use damage::Way;

#[test]
fn up_to_three_flipped_bits_or_a_burst_of_16_never_pass_a_crc() {
    for way in [Way::RtuBits, Way::RtuBurst] {
        let found = damage::count(way, 100_000, 2);
        assert_eq!((found.wrong, found.right), (0, 0), "{way:?}");
    }
}

#[test]
fn a_changed_character_never_passes_an_lrc() {
    // A digit in the other case says the same.
    assert_eq!(damage::count(Way::AsciiCharacter, 100_000, 2).wrong, 0);
}

#[test]
fn another_transaction_or_an_impossible_header_is_no_answer() {
    let found = damage::count(Way::MbapForeign, 100_000, 2);
    assert_eq!((found.wrong, found.right), (0, 0));
}

/// No framing can do better: heavy damage passes a CRC of 16 bits once in 65,536 times, an LRC once in 256; that slave,
/// function and length must fit makes it rarer.
#[test]
fn heavy_damage_passes_no_more_often_than_the_check_sum_allows() {
    assert!(damage::count(Way::RtuHeavy, 100_000, 2).wrong <= 4);
    assert!(damage::count(Way::AsciiHeavy, 100_000, 2).wrong <= 100_000 / 256);
    assert_eq!(damage::WAYS.len(), 6);
}
