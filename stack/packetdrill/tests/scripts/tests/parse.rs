//! The language of the scripts.

use crate::language::*;
use crate::parse::parse;

fn one(text: &str) -> Event {
    let mut script = parse(text).unwrap();
    assert_eq!(script.events.len(), 1, "{script:?}");
    script.events.remove(0)
}

fn segment(text: &str) -> Tcp {
    match one(text).action {
        Action::Inbound(Packet { body: Body::Tcp(tcp), .. })
        | Action::Outbound(Packet { body: Body::Tcp(tcp), .. }) => tcp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn times_have_five_forms() {
    // Shows absolute, relative, any, between and blocking times, in microseconds.
    let time = |text: &str| one(&format!("{text} close(3) = 0")).time;
    assert_eq!(time("0.25"), Time { relative: false, at: Moment::At(250_000) });
    assert_eq!(time("+.000001"), Time { relative: true, at: Moment::At(1) });
    assert_eq!(time("*"), Time { relative: true, at: Moment::Any });
    assert_eq!(time("+0~+.2"), Time { relative: true, at: Moment::Between(0, 200_000) });
    assert_eq!(time("0.1~0.2"), Time { relative: false, at: Moment::Between(100_000, 200_000) });
    assert_eq!(time("+0...0.5"), Time { relative: true, at: Moment::Blocks(0, 500_000) });
    assert_eq!(time("1...2.5"), Time { relative: false, at: Moment::Blocks(1_000_000, 2_500_000) });
}

#[test]
fn segments_are_read_whole() {
    // Shows flags, sequence numbers, window, urgent pointer and each option.
    let tcp = segment("0 < SEW 0:0(0) win 1000 <mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7,eol>");
    assert_eq!(tcp.flags, flag::SYN | flag::ECE | flag::CWR);
    assert_eq!((tcp.seq, tcp.len, tcp.ack, tcp.window), (0, 0, None, Some(1000)));
    let expected = [
        TcpOption::Mss(1460),
        TcpOption::SackOk,
        TcpOption::Timestamps(7, 0),
        TcpOption::Nop,
        TcpOption::WindowScale(7),
        TcpOption::End,
    ];
    assert_eq!(tcp.options.unwrap(), expected);
    let tcp = segment("+0 > PU. 1:11(10) ack 5 urg 3 <nop,nop,sack 20:30 40:50>");
    assert_eq!((tcp.seq, tcp.len, tcp.ack, tcp.urgent), (1, 10, Some(5), Some(3)));
    assert_eq!(tcp.options.unwrap()[2], TcpOption::Sack(vec![(20, 30), (40, 50)]));
    assert_eq!(segment("+0 > . 1:1(0) ack 1 <...>").options, None);
    assert_eq!(segment("+0 < - 1:1(0) win 5").flags, 0);
    // A sequence number may pass the end of the circle.
    assert_eq!(segment("+0 < . 4294967290:4(10) ack 1 win 5").len, 10);
}

#[test]
fn packets_carry_marks_and_errors() {
    // Shows what brackets say of the IP header, datagrams, and an ICMP error with the segment it quotes.
    let Action::Inbound(packet) = one("0 < [ce, ttl 3] . 1:1(0) ack 1 win 5").action else { panic!() };
    assert_eq!((packet.ip.ecn, packet.ip.ttl), (Some(3), Some(3)));
    let Action::Inbound(packet) = one("0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]").action
    else {
        panic!()
    };
    assert_eq!(packet.body, Body::Icmp { kind: 3, code: 4, mtu: 1200, quoted: Some((1, 1460)) });
    let Action::Outbound(packet) = one("0 > [tos 0x10] udp (20)").action else { panic!() };
    assert_eq!((packet.ip.tos, packet.body), (Some(0x10), Body::Udp(20)));
}

#[test]
fn calls_have_every_kind_of_value() {
    // Shows names, numbers, lists, structures, texts, and the answer with its error and remark.
    let Action::Call(call) = one(
        "+0 connect(3, {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr(\"1.2.3.4\")}, ...) \
         = -1 EINPROGRESS (Operation now in progress)",
    )
    .action
    else {
        panic!()
    };
    assert_eq!((call.returns, call.error.as_deref()), (Value::Number(-1), Some("EINPROGRESS")));
    let Value::Struct(fields) = &call.arguments[1] else { panic!() };
    assert_eq!(fields[0], ("sa_family".to_owned(), Value::Names(vec!["AF_INET".to_owned()])));
    assert_eq!(fields[1].1, Value::Function("htons".to_owned(), vec![Value::Number(80)]));
    let Action::Call(call) = one("0 writev(4, [{..., 1000}, {..., 5}], 2) = 1005").action else { panic!() };
    let Value::List(parts) = &call.arguments[1] else { panic!() };
    let unnamed = |value| (String::new(), value);
    assert_eq!(parts[0], Value::Struct(vec![unnamed(Value::Any), unnamed(Value::Number(1000))]));
    let Action::Call(call) = one("0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0").action else { panic!() };
    assert_eq!(call.arguments[2], Value::Names(vec!["O_RDWR".to_owned(), "O_NONBLOCK".to_owned()]));
}

#[test]
fn a_script_is_options_comments_and_events() {
    // Shows that an event ends where the next begins, whatever stands between them.
    let script = parse(
        "--ip_version=ipv6\n// why\n`sysctl -q net.ipv4.tcp_ecn=1`\n0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n\
         /* a\nlong one */ +0 < . 1:1(0) ack 1 win 5\n+0 %{ assert 1 == 1 }%\n",
    )
    .unwrap();
    assert_eq!(script.options["ip_version"], "ipv6");
    let lines: Vec<usize> = script.events.iter().map(|event| event.line).collect();
    assert_eq!(lines, [3, 4, 6, 7]);
}

#[test]
fn faults_are_told_with_their_line() {
    // Shows one fault of each part of the language.
    for (text, fault) in [
        ("0 close(3)", "1: `=` expected"),
        ("\n0 < X 0:0(0)", "2: no flag X"),
        ("0 < . 1:5(3) ack 1", "1: 1 and 3 bytes do not end at 5"),
        ("0 < . 1:1(0) ack 1 win 70000", "1: 70000 is out of range"),
        ("0 < . 1:1(0) <tfo>", "1: no option `tfo`"),
        ("0 < icmp unreachable often", "1: no such ICMP message"),
        ("0.5~0.1 close(3) = 0", "1: a time that ends before it begins"),
        ("0...1 < . 1:1(0)", "1: only a call can block"),
        ("0 `sysctl", "1: ``` is missing"),
        ("0", "1: an action expected"),
    ] {
        let told = parse(text).unwrap_err();
        assert!(told.starts_with(fault), "{text}: {told}");
    }
}
