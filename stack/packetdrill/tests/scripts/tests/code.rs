//! Assertions about TCP_INFO.

use crate::code::*;

#[test]
fn assertions_are_judged() {
    // Shows precedence, chains, names and messages; and what fails or is not understood.
    let names = Names::from([("tcpi_snd_cwnd", 10), ("tcpi_unacked", 3)]);
    for text in [
        "assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd",
        "\n  assert 2 + 2 * 3 == 8 and not 1 > 2\nassert(1 <= tcpi_unacked < 4)",
        "assert tcpi_snd_cwnd - tcpi_unacked == 7; assert -1 < 0 or 1 > 2  # both",
        "print(tcpi_snd_cwnd)",
        "",
    ] {
        assert_eq!(run(text, &names), Ok(()), "{text}");
    }
    for text in ["assert tcpi_snd_cwnd == 11", "assert 0", "assert 1 < 2 < 2", "assert nothing == 1", "x = 1"]
    {
        assert!(run(text, &names).is_err(), "{text}");
    }
}

#[test]
fn tcp_info_is_read_as_linux_lays_it_out() {
    // Shows one field of each size and the two shifts that share an octet.
    let mut info = [0; 280];
    info[1] = 3;
    info[6] = 0x87;
    info[80..84].copy_from_slice(&10_u32.to_ne_bytes());
    info[120..128].copy_from_slice(&5_u64.to_ne_bytes());
    info[148..152].copy_from_slice(&6_u32.to_ne_bytes());
    info[228..232].copy_from_slice(&7_u32.to_ne_bytes());
    let names = names(&info);
    assert_eq!((names["tcpi_ca_state"], names["tcpi_snd_wscale"], names["tcpi_rcv_wscale"]), (3, 7, 8));
    assert_eq!((names["tcpi_snd_cwnd"], names["tcpi_bytes_acked"]), (10, 5));
    assert_eq!((names["tcpi_min_rtt"], names["tcpi_snd_wnd"]), (6, 7));
}
