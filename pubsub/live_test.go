package pubsub_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/confab-im/confab/pubsub"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

func TestPublishAndRead(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		c, _ := account(t, s)
		pep := pubsub.New(c, jid.JID{})
		node := "urn:example:many"
		cfg := pubsub.Private()
		cfg.MaxItems = pubsub.Max
		cfg.SendLast = pubsub.Never
		var want []string
		for i := range 120 {
			id, err := pep.Publish(ctx, node, pubsub.Item{ID: fmt.Sprintf("item%03d", i), Payload: mood("<&>")}, cfg)
			require.NoError(t, err)
			want = append(want, id)
		}
		got, err := collect(ctx, pep, node)
		require.NoError(t, err)
		slices.Sort(got)
		assert.Equal(t, want, got)

		latest, err := pep.Latest(ctx, node, 3)
		require.NoError(t, err)
		var ids []string
		for _, it := range latest {
			ids = append(ids, it.ID)
		}
		t.Log("latest", ids)
		assert.ElementsMatch(t, []string{"item117", "item118", "item119"}, ids)

		it, err := pep.Item(ctx, node, "item007")
		require.NoError(t, err)
		assert.Equal(t, "<&>", it.Payload.Text)
		assert.True(t, it.Payload.Is(nsMood, "mood"))
		_, err = pep.Item(ctx, node, "none such")
		require.ErrorIs(t, err, pubsub.ErrNotFound)
		some, err := pep.ItemsByID(ctx, node, "item001", "item002")
		require.NoError(t, err)
		assert.Len(t, some, 2)

		require.NoError(t, pep.Retract(ctx, node, "item007"))
		err = pep.Retract(ctx, node, "item007")
		if err != nil {
			require.ErrorIs(t, err, pubsub.ErrNotFound)
		}
		require.NoError(t, pep.Purge(ctx, node))
		got, err = collect(ctx, pep, node)
		require.NoError(t, err)
		assert.Empty(t, got)
		require.NoError(t, pep.Delete(ctx, node, ""))
		_, err = collect(ctx, pep, node)
		require.ErrorIs(t, err, pubsub.ErrNotFound)
		require.ErrorIs(t, pep.Delete(ctx, node, ""), pubsub.ErrNotFound)
	})
}

// A node that is not as an item needs it is changed before.
func TestPublishOptions(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		c, _ := account(t, s)
		pep := pubsub.New(c, jid.JID{})
		node := "urn:example:secret"
		_, err := pep.Publish(ctx, node, pubsub.Item{ID: "a", Payload: mood("old")}, pubsub.Config{Access: pubsub.AccessOpen})
		require.NoError(t, err)
		now, err := pep.Config(ctx, node)
		require.NoError(t, err)
		assert.Equal(t, pubsub.AccessOpen, now.Access)

		cfg := pubsub.Private()
		cfg.MaxItems, cfg.SendLast = pubsub.Max, pubsub.Never
		for _, id := range []string{"b", "c", "d"} {
			_, err = pep.Publish(ctx, node, pubsub.Item{ID: id, Payload: mood("new")}, cfg)
			require.NoError(t, err)
		}
		now, err = pep.Config(ctx, node)
		require.NoError(t, err)
		assert.Equal(t, pubsub.AccessWhitelist, now.Access)
		assert.Equal(t, pubsub.Never, now.SendLast)
		assert.Equal(t, pubsub.Yes, now.Persist)
		if now.MaxItems != pubsub.Max {
			assert.Greater(t, now.MaxItems, 100)
		}
		ids, err := collect(ctx, pep, node)
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"a", "b", "c", "d"}, ids)
	})
}

func TestMissingNode(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		c, _ := account(t, s)
		stranger, _ := account(t, s)
		_, err := pubsub.New(c, jid.JID{}).Latest(ctx, "urn:example:none", 1)
		require.ErrorIs(t, err, pubsub.ErrNotFound)
		t.Log(err)
		_, err = pubsub.New(c, bare(stranger)).Latest(ctx, "urn:example:none", 1)
		require.ErrorIs(t, err, pubsub.ErrNotFound)
		t.Log(err)
		_, err = pubsub.New(stranger, jid.JID{}).Publish(ctx, nsMood, pubsub.Item{ID: "current", Payload: mood("glum")}, pubsub.Private())
		require.NoError(t, err)
		_, err = pubsub.New(c, bare(stranger)).Latest(ctx, nsMood, 1)
		require.ErrorIs(t, err, pubsub.ErrNotFound)
		t.Log(err)
		var se stanza.Error
		require.True(t, errors.As(err, &se))
		_, err = pubsub.New(c, jid.MustParse("nobody@"+s.Domain)).Latest(ctx, nsMood, 1)
		require.ErrorIs(t, err, pubsub.ErrNotFound)
		t.Log(err)
		_, err = pubsub.New(stranger, jid.JID{}).Publish(ctx, nsMood, pubsub.Item{ID: "current", Payload: mood("glad")}, pubsub.Open())
		require.NoError(t, err)
		items, err := pubsub.New(c, bare(stranger)).Latest(ctx, nsMood, 1)
		require.NoError(t, err)
		assert.Equal(t, "glad", items[0].Payload.Text)
		_, err = pubsub.New(c, bare(stranger)).Publish(ctx, nsMood, pubsub.Item{ID: "current", Payload: mood("mine")}, pubsub.Config{})
		require.Error(t, err)
	})
}

func TestEvents(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		romeo, _ := account(t, s)
		address, password := s.Account(t)
		notified := func(seen **testclient.Seen[*pubsub.Event]) func(c *client.Client) {
			return func(c *client.Client) {
				pubsub.Notify(c, nsMood)
				pubsub.Events(c, nil)
				*seen = testclient.Watch[*pubsub.Event](c)
			}
		}
		var seen *testclient.Seen[*pubsub.Event]
		juliet := testclient.Up(t, testclient.Config(s, address, password), notified(&seen))
		befriend(t, juliet, romeo) // in this order: ejabberd forgets the caps of who comes first
		pep := pubsub.New(romeo, jid.JID{})
		of := func(k pubsub.Kind) func(*pubsub.Event) bool {
			return func(e *pubsub.Event) bool { return e.Node == nsMood && e.Kind == k && e.From.Equal(bare(romeo)) }
		}
		cfg := pubsub.Contacts()
		cfg.MaxItems, cfg.NotifyRetract = 4, pubsub.Yes
		_, err := pep.Publish(ctx, nsMood, pubsub.Item{ID: "a", Payload: mood("happy")}, cfg)
		require.NoError(t, err)
		e := seen.Next(t, of(pubsub.Published))
		require.Len(t, e.Items, 1)
		assert.Equal(t, "a", e.Items[0].ID)
		assert.Equal(t, "happy", e.Items[0].Payload.Text)
		assert.True(t, e.Complete())
		assert.False(t, e.Old)

		// Another client of hers gets the last item at once.
		var seen2 *testclient.Seen[*pubsub.Event]
		second := testclient.Up(t, testclient.Config(s, address, password), notified(&seen2))
		e = seen2.Next(t, of(pubsub.Published))
		assert.Equal(t, "a", e.Items[0].ID)
		t.Log("old:", e.Old, e.Stamp, e.Message.Stanza)

		// The own events go to all own clients that asked for them.
		mine := pubsub.New(juliet, jid.JID{})
		_, err = mine.Publish(ctx, nsMood, pubsub.Item{Payload: mood("in love")}, pubsub.Private())
		require.NoError(t, err)
		own := func(e *pubsub.Event) bool { return e.From.Equal(bare(second)) && e.Kind == pubsub.Published }
		assert.NotEmpty(t, seen2.Next(t, own).Items[0].ID)
		seen.Next(t, own)

		// Without payloads they can be fetched.
		require.NoError(t, pep.Configure(ctx, nsMood, pubsub.Config{Payloads: pubsub.No}))
		_, err = pep.Publish(ctx, nsMood, pubsub.Item{ID: "b", Payload: mood("shy")}, pubsub.Config{})
		require.NoError(t, err)
		e = seen.Next(t, of(pubsub.Published))
		assert.False(t, e.Complete())
		items, err := e.Fetch(ctx, juliet)
		require.NoError(t, err)
		require.Len(t, items, 1)
		assert.Equal(t, "shy", items[0].Payload.Text)

	})
}

// What is gone is told, too. What is published last shows that all before has come.
func TestRemovalEvents(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		c, seen := account(t, s, func(c *client.Client) { pubsub.Notify(c, nsMood, "urn:example:end") })
		pep := pubsub.New(c, jid.JID{})
		cfg := pubsub.Contacts()
		cfg.NotifyRetract, cfg.NotifyDelete = pubsub.Yes, pubsub.Yes
		_, err := pep.Publish(ctx, nsMood, pubsub.Item{ID: "a", Payload: mood("happy")}, cfg)
		require.NoError(t, err)
		seen.Next(t, func(e *pubsub.Event) bool { return e.Kind == pubsub.Published })
		require.NoError(t, pep.Retract(ctx, nsMood, "a"))
		require.NoError(t, pep.Purge(ctx, nsMood))
		require.NoError(t, pep.Delete(ctx, nsMood, ""))
		_, err = pep.Publish(ctx, "urn:example:end", pubsub.Item{ID: "z", Payload: mood("end")}, pubsub.Contacts())
		require.NoError(t, err)
		seen.Next(t, func(e *pubsub.Event) bool { return e.Node == "urn:example:end" })
		var kinds []pubsub.Kind
		for _, e := range seen.All() {
			assert.Equal(t, bare(c), e.From)
			if e.Kind == pubsub.Retracted {
				assert.Equal(t, []string{"a"}, e.Retracted)
			}
			kinds = append(kinds, e.Kind)
		}
		if s.Name == testbed.Ejabberd && !slices.Contains(kinds, pubsub.Retracted) {
			t.Log(kinds)
			s.Skip(t, "events of removal for +notify") // 23.01 tells who is subscribed only
		}
		assert.Equal(t, []pubsub.Kind{pubsub.Retracted, pubsub.Purged, pubsub.Deleted}, kinds)
	})
}

func TestComponent(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		at := jid.MustParse(s.PubSub)
		owner := admin(t, s)
		reader, seen := account(t, s)
		mine, theirs := pubsub.New(owner, at), pubsub.New(reader, at)
		node := "news-" + bare(owner).Localpart()
		name, err := mine.Create(ctx, node, pubsub.Config{Title: "News", Access: pubsub.AccessOpen, MaxItems: 10, Persist: pubsub.Yes})
		require.NoError(t, err)
		assert.Equal(t, node, name)
		_, err = mine.Create(ctx, node, pubsub.Config{})
		require.ErrorIs(t, err, pubsub.ErrExists)

		var nodes []string
		for n, err := range theirs.Nodes(ctx) {
			require.NoError(t, err)
			assert.Equal(t, at, n.Service)
			nodes = append(nodes, n.Node)
		}
		assert.Contains(t, nodes, node)

		meta, err := theirs.Metadata(ctx, node)
		require.NoError(t, err)
		assert.Equal(t, "News", meta.Title)
		def, err := mine.Default(ctx)
		require.NoError(t, err)
		assert.NotEmpty(t, def.Access)

		sub, err := theirs.Subscribe(ctx, node)
		require.NoError(t, err)
		assert.Equal(t, pubsub.Subscribed, sub.State)
		assert.Equal(t, bare(reader), sub.JID)
		subs, err := theirs.Subscriptions(ctx, "")
		require.NoError(t, err)
		require.Len(t, subs, 1)
		assert.Equal(t, node, subs[0].Node)
		all, err := mine.Subscribers(ctx, node)
		require.NoError(t, err)
		assert.True(t, slices.ContainsFunc(all, func(s pubsub.Subscription) bool { return s.JID.Equal(bare(reader)) }), all)

		_, err = mine.Publish(ctx, node, pubsub.Item{ID: "1", Payload: mood("news")}, pubsub.Config{})
		require.NoError(t, err)
		e := seen.Next(t, func(e *pubsub.Event) bool { return e.Node == node && e.Kind == pubsub.Published })
		assert.Equal(t, at, e.From)
		assert.Equal(t, "1", e.Items[0].ID)

		_, err = theirs.Publish(ctx, node, pubsub.Item{ID: "2", Payload: mood("no")}, pubsub.Config{})
		require.Error(t, err)
		require.NotErrorIs(t, err, pubsub.ErrNotFound)
		require.Error(t, theirs.Configure(ctx, node, pubsub.Open()))
		require.NoError(t, mine.SetAffiliation(ctx, node, bare(reader), pubsub.Publisher))
		affs, err := mine.Affiliates(ctx, node)
		require.NoError(t, err)
		assert.True(t, slices.ContainsFunc(affs, func(a pubsub.Affiliation) bool {
			return a.JID.Equal(bare(reader)) && a.Role == pubsub.Publisher
		}), affs)
		_, err = theirs.Publish(ctx, node, pubsub.Item{ID: "2", Payload: mood("yes")}, pubsub.Config{})
		require.NoError(t, err)
		seen.Next(t, func(e *pubsub.Event) bool { return e.Node == node && e.Items[0].ID == "2" })

		require.NoError(t, theirs.Unsubscribe(ctx, node, ""))
		subs, err = theirs.Subscriptions(ctx, node)
		require.NoError(t, err)
		assert.Empty(t, subs)
		if err := theirs.Unsubscribe(ctx, node, ""); err != nil {
			t.Log("twice:", err)
		}

		require.NoError(t, mine.Configure(ctx, node, pubsub.Config{Access: pubsub.AccessWhitelist}))
		require.NoError(t, mine.SetAffiliation(ctx, node, bare(reader), pubsub.Outcast))
		_, err = theirs.Latest(ctx, node, 1)
		require.Error(t, err)
		require.NoError(t, mine.Delete(ctx, node, ""))
	})
}

func TestAffiliations(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		c := admin(t, s)
		service := pubsub.New(c, jid.MustParse(s.PubSub))
		node, err := service.Create(ctx, "", pubsub.Config{})
		skipUnsupported(t, s, err, "instant nodes")
		require.NoError(t, err)
		require.NotEmpty(t, node)
		list, err := service.Affiliations(ctx, "")
		skipUnsupported(t, s, err, "own affiliations")
		require.NoError(t, err)
		assert.Contains(t, list, pubsub.Affiliation{Node: node, JID: bare(c), Role: pubsub.Owner})
	})
}

func TestSubscriptionOptions(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		c := admin(t, s)
		service := pubsub.New(c, jid.MustParse(s.PubSub))
		node, err := service.Create(ctx, "", pubsub.Config{})
		require.NoError(t, err)
		sub, err := service.Subscribe(ctx, node)
		require.NoError(t, err)
		options, err := service.SubscriptionOptions(ctx, node, sub.ID)
		skipUnsupported(t, s, err, "subscription options")
		require.NoError(t, err)
		assert.Equal(t, pubsub.NS+"#subscribe_options", options.About())
		require.NoError(t, service.SetSubscriptionOptions(ctx, node, sub.ID, options))
	})
}

// Who asks to be let in waits for an owner.
func TestPending(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		ctx := testclient.Context(t)
		at := jid.MustParse(s.PubSub)
		owner := admin(t, s)
		requests := testclient.Watch[*pubsub.SubscriptionRequest](owner)
		pubsub.Requests(owner)
		reader, seen := account(t, s)
		mine, theirs := pubsub.New(owner, at), pubsub.New(reader, at)
		node, err := mine.Create(ctx, "", pubsub.Config{Access: pubsub.AccessAuthorize})
		if err != nil {
			s.Skip(t, "nodes whose owner lets people in")
		}
		sub, err := theirs.Subscribe(ctx, node)
		if err != nil {
			s.Skip(t, "nodes whose owner lets people in") // Prosody knows the word but does not ask
		}
		require.Equal(t, pubsub.Pending, sub.State)
		_, err = mine.Publish(ctx, node, pubsub.Item{ID: "1", Payload: mood("hidden")}, pubsub.Config{})
		require.NoError(t, err)
		r := requests.Next(t, func(r *pubsub.SubscriptionRequest) bool { return r.Node == node })
		assert.Equal(t, bare(reader), r.JID)
		assert.Equal(t, at, r.From)
		require.NoError(t, r.Answer(ctx, owner, true))
		e := seen.Next(t, func(e *pubsub.Event) bool { return e.Kind == pubsub.SubscriptionChanged && e.Node == node })
		assert.Equal(t, pubsub.Subscribed, e.Subscription.State)
		_, err = mine.Publish(ctx, node, pubsub.Item{ID: "2", Payload: mood("seen")}, pubsub.Config{})
		require.NoError(t, err)
		seen.Next(t, func(e *pubsub.Event) bool { return e.Node == node && len(e.Items) > 0 && e.Items[0].ID == "2" })
		require.NoError(t, mine.SetSubscriber(ctx, node, bare(reader), pubsub.Unsubscribed))
		seen.Next(t, func(e *pubsub.Event) bool {
			return e.Kind == pubsub.SubscriptionChanged && e.Subscription.State == pubsub.Unsubscribed
		})
	})
}
