// Package client keeps one account connected. It finds the server, encrypts,
// signs in, resumes the stream when a link is lost, and does so again as long as
// [Client.Run] runs. A [Client] is a [confab.Session], on which features are made.
//
//	c, err := client.New(client.Config{Address: "bot@example.org", Password: pw})
//	// make features, register handlers
//	err = c.Run(ctx)
//
// # Finding the server
//
// SRV records for direct TLS and STARTTLS count as one list (XEP-0368); targets
// and their addresses are tried side by side, each a little later than the one
// before. If none answers, the domain's host-meta file may name a WebSocket
// (XEP-0156). The error of a failure, a [ConnectError], lists each attempt.
//
// # Encryption
//
// A link without encryption that verifies for the account's domain is of no use:
// the error is an [EncryptionError], and nothing secret was sent. There is no
// option to go on.
//
// # Sign-in
//
// The strongest mechanism that both sides know is used: tokens (XEP-0484),
// EXTERNAL, OAUTHBEARER, SCRAM with channel binding, SCRAM, and PLAIN only where
// the account has never done better. Where the server offers SASL2 and Bind 2
// (XEP-0388, XEP-0386), signing in, resuming and stream management are one
// exchange. Its refusal, an [AuthError], says what was tried and why it failed.
//
// # Staying
//
// With stream management (XEP-0198) what was sent is kept until the server has
// it, and what comes in is acknowledged when it was handled. A link that dies is
// noticed (Config.Keepalive, Config.Patience) and replaced; pauses between
// attempts grow, at random. What trying again cannot mend, such as a wrong
// password or another client with the same resource, ends Run with the reason.
//
// # Signing off
//
// [Client.Close] delivers what is queued and closes the stream. Ending the
// context of Run cuts the link instead: the server keeps the stream for a while,
// and keeps what comes in.
package client
