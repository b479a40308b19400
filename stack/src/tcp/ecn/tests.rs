use super::*;

#[test]
fn the_modes_are_linuxs_numbers() {
    // Shows 0, 1 and 2 as Linux's tcp_ecn has them, and no other.
    let modes = [0, 1, 2, 3].map(Ecn::from_number);
    assert_eq!(modes, [Some(Ecn::Off), Some(Ecn::Request), Some(Ecn::Accept), None]);
}

#[test]
fn dctcp_grants_in_any_mode() {
    // Shows that a lane of DCTCP grants ECN to a SYN that is ECN-capable itself, whatever the mode, if it asks for it.
    let syn = |flags| Segment::new(1, 2, SeqNum(0), SeqNum(0), Flags::SYN | flags);
    for ecn in [Ecn::Off, Ecn::Request, Ecn::Accept] {
        assert!(grants(ecn, Congestion::Dctcp, &syn(SETUP), codepoint::ECT_0));
        assert!(!grants(ecn, Congestion::Dctcp, &syn(Flags::ECE), codepoint::ECT_0));
        assert!(!grants(ecn, Congestion::Cubic, &syn(SETUP), codepoint::ECT_0));
    }
}
