// Package confabtest is an XMPP server in the process, as net/http/httptest is
// for HTTP. It is for tests and demonstrations only: it keeps everything in
// memory, passwords as they are, and protects itself against nobody.
//
//	srv := confabtest.NewServer(confabtest.Config{})
//	defer srv.Close()
//	address := srv.AddAccount("romeo", "secret")
//	c, err := client.New(client.Config{Address: address, Password: "secret", Dial: srv.Dial})
//
// # Ways in
//
// [Server.Dial] connects in memory. Such connections count as encrypted, and they
// work under testing/synctest. [Server.Start] listens on the loopback interface:
// for STARTTLS, for direct TLS, and for WebSocket with a host-meta file beside it;
// clients have to trust [Server.CA]. [Server.Serve] takes any net.Conn.
//
// # What it can do
//
// RFC 6120 and 6121: sign-in, resource binding, routing, roster, subscriptions,
// presence. SASL with SCRAM (also bound to the channel: tls-exporter and
// tls-server-end-point), PLAIN, EXTERNAL, OAUTHBEARER, ANONYMOUS. What it does not
// have a test can play with [Server.Component] and
// [Server.HandleIQ]. It talks to no other servers. XEPs: 0012, 0030, 0045, 0049, 0054, 0059 (of rooms), 0060, 0065,
// 0077, 0092, 0153, 0156, 0160, 0163, 0178, 0191, 0198, 0199, 0202, 0203, 0249, 0280, 0313, 0317, 0352, 0359, 0363,
// 0377, 0386, 0388, 0398, 0410, 0421, 0425, 0440, 0441, 0474, 0484, 0486.
//
// # Faults
//
// [Server.OnConn] sees each connection before its first byte and can have it cut
// at any byte or stanza, in either direction, or have stanzas lost, doubled,
// forged or delayed: see the methods of [Conn]. Positions are exact, so that a
// test can try each of them.
//
// # Scripts
//
// A [Transcript] is a peer that does nothing by itself: the test says what it
// expects and what it sends.
package confabtest
