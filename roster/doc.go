// Package roster has the people of an account: its list of contacts, who sees
// whom, presence, blocking, invitations.
//
// # Contacts
//
// A [Roster] holds the contacts. It is loaded, or brought up to date, before the
// user hears [confab.Ready], and follows every change: [Added], [Changed] and
// [Removed] are the events. With a [Config.Store] the server sends only what has
// changed since the last run of the program.
//
//	r, err := roster.New(c, roster.Config{Policy: roster.Mutual})
//	confab.On(c, func(ctx context.Context, e roster.PresenceChanged) { ... })
//
// # Who sees whom
//
// [Roster.Subscribe] asks to see somebody's presence. Those who ask this account
// come as a [Request], unless a [Policy] answers. [Roster.Invite] makes a link that
// turns whoever gets it into a contact.
//
// # Presence
//
// [Roster.SetPresence] says what this client does, [Roster.Presences] and
// [Roster.Best] what the clients of a contact do; [PresenceChanged] is the event.
// What is remembered of those who are no contacts is bounded.
//
// # Blocking
//
// A [Blocklist] is apart, since a program may want one without the other.
//
// # Standards
//
// RFC 6121 §§2 to 4; XEP-0055, 0144 (suggestions are told, not followed), 0172,
// 0191, 0283, 0319, 0377, 0379, 0401.
package roster
