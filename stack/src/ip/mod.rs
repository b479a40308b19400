//! IP: neighbours, routes, fragments and ICMP, each a state machine in plain data.
//! Headers as bytes live in `wire`; frames and interfaces live in `engine`.
