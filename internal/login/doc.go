// Package login knows how to prove who one is: which of the mechanisms that a
// server offers to use, and the mechanisms that mellium.im/sasl lacks, written
// as its Mechanisms: SCRAM with SHA-1, SHA-256 and SHA-512, with channel binding
// by tls-exporter and tls-server-end-point (RFC 5802, 7677, 9266, XEP-0440) and
// downgrade protection (XEP-0474), the token mechanisms of FAST (XEP-0484),
// OAUTHBEARER (RFC 7628) and EXTERNAL. It does no input or output.
package login
