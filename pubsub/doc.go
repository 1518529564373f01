// Package pubsub is publish-subscribe (XEP-0060): nodes of items, kept by a
// service, that others read and are told of. Every account is such a service, too
// (PEP, XEP-0163): avatars, bookmarks, keys and feeds live there.
//
// A [Service] is a value that costs nothing to make: [New] takes a session and an
// address, or none for the own account.
//
//	pep := pubsub.New(c, jid.JID{})
//	id, err := pep.Publish(ctx, "urn:example:mood", pubsub.Item{ID: "current", Payload: el}, pubsub.Contacts())
//	for item, err := range pubsub.New(c, friend).Items(ctx, "urn:example:mood") { ... }
//
// # Publishing safely
//
// A [Config] given to [Service.Publish] says what the node has to be like: who may
// read it, how many items it keeps. A node that is different is changed first, and a
// server that does not understand the condition gets the node made or changed
// beforehand. An item that is meant for few is never published to a node that is
// open: Publish fails instead.
//
// # Events
//
// [Notify] asks the servers of the contacts for the events of nodes (name it before
// the session runs, so that it is part of the first presence). [OnEvent] is for
// features; users take [Events] and
//
//	pubsub.Events(c, nil)
//	confab.On(c, func(ctx context.Context, e *pubsub.Event) { ... })
//
// Where an event comes from is checked: it is never from another client, and the
// address in [Event.From] is that of the service or account that owns the node. Who
// cares for one owner only, such as the own account, has to compare it.
//
// # What is not there
//
// A PEP service hides what one may not see: some say that a node does not exist,
// some that it is forbidden. Both are [ErrNotFound] for the nodes of accounts.
package pubsub
