package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/confab-im/confab/chat"
	"github.com/confab-im/confab/client"
	"github.com/confab-im/confab/internal/testbed"
	"github.com/confab-im/confab/internal/testclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTalk has two people say all kinds of things to each other.
func TestTalk(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s)
		romeo.press("But sof")
		juliet.see("is typing")
		romeo.press("t!\r")
		juliet.see("#1 " + romeo.address.Localpart() + ": But soft!")
		juliet.lose("is typing")
		romeo.see("#1 you: But soft!  read")
		romeo.enter("/edit But, soft!")
		juliet.see("But, soft!  (edited)")
		romeo.see("But, soft!  (edited) read")
		juliet.enter("/react 👍")
		romeo.see("👍 1")
		juliet.enter("/reply What light?")
		romeo.see("#2 Juliet: (to #1) What light?")
		juliet.enter("/retract #2 nothing")
		romeo.see("(taken back) nothing")
		romeo.lose("What light")
		juliet.enter("/retract #1")
		juliet.see("Failed: that is not yours")
		juliet.enter("/dance")
		juliet.see("There is no /dance")
	})
}

// TestRestart has the history, and what was said meanwhile, come back.
func TestRestart(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s)
		romeo.enter("He jests at scars")
		juliet.see("He jests at scars")
		juliet.quit()
		romeo.see("(offline)")
		romeo.enter("that never felt a wound.")
		romeo.see("that never felt a wound.  sent")
		juliet.start()
		juliet.see(romeo.address.Localpart()+"@", " 1│") // one is not read
		juliet.press("\x0e")                             // Ctrl-N
		juliet.see("He jests at scars", "that never felt a wound.", "#2 ")
		juliet.lose(" 1│")
		romeo.see("that never felt a wound.  read")
		juliet.enter("/search WOUND")
		juliet.see("Found: 1")
		juliet.quit()
		romeo.quit()
	})
}

// TestReconnect cuts the line: the program comes back by itself, and what was said
// meanwhile arrives.
func TestReconnect(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		line := s.Line(t)
		romeo, juliet := sit(t, s), sit(t, s)
		romeo.server = "xmpp://" + line.Addr
		romeo, juliet = meet(romeo.start(), juliet.start())
		room := "wall-" + romeo.address.Localpart() + "@" + s.Rooms
		romeo.enter("/join %s", room)
		romeo.see("(1 here")
		juliet.enter("/join %s", room)
		juliet.see("(2 here")
		line.Refuse(true)
		line.Cut()
		romeo.see("[no link")
		romeo.enter("With love's light wings")
		romeo.see("you: With love's light wings  ...")
		romeo.enter("/chat Juliet")
		romeo.see(juliet.address.String() + " (")
		juliet.enter("/chat %s", romeo.address)
		juliet.see(romeo.address.String() + " (")
		romeo.enter("Can I go forward")
		romeo.see("Can I go forward  ...")
		juliet.enter("O Romeo, Romeo")
		line.Refuse(false)
		romeo.see("[online]", "O Romeo, Romeo", "Can I go forward  read")
		juliet.see("Can I go forward")
		juliet.enter("/chat wall")
		juliet.see(romeo.address.Localpart() + ": With love's light wings")
	})
}

// TestUnsent ends the program before what was said could be sent: the next run sends it.
func TestUnsent(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		line := s.Line(t)
		romeo, juliet := sit(t, s), sit(t, s)
		romeo.server = "xmpp://" + line.Addr
		romeo, juliet = meet(romeo.start(), juliet.start())
		line.Refuse(true)
		line.Cut()
		romeo.see("[no link")
		romeo.enter("Parting is such sweet sorrow")
		romeo.see("sweet sorrow  ...")
		romeo.quit()
		line.Refuse(false)
		romeo.start()
		juliet.see("Parting is such sweet sorrow")
		romeo.enter("/chat Juliet")
		romeo.see("sweet sorrow  read")
	})
}

// TestRooms has two meet in a room, and come back to it.
func TestRooms(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := sit(t, s).start(), sit(t, s).start()
		room := "orchard-" + romeo.address.Localpart() + "@" + s.Rooms
		romeo.enter("/join %s Romeo", room)
		romeo.see("(1 here, you are Romeo)", "It is new.")
		juliet.enter("/join %s Juliet", room)
		juliet.see("(2 here, you are Juliet)")
		romeo.see("(2 here, you are Romeo)")
		juliet.enter("/bookmark")
		juliet.see("Bookmarked.")
		juliet.enter("/who")
		juliet.see("Romeo (", "Here: 2")
		juliet.press("wher")
		romeo.see("Juliet is typing")
		juliet.press("efore\r")
		romeo.see("Juliet: wherefore")
		juliet.see("Juliet: wherefore")
		juliet.enter("/edit wherefore art thou")
		romeo.see("wherefore art thou  (edited)")
		romeo.enter("/topic The balcony")
		juliet.see("Topic: The balcony")
		juliet.enter("/chat")
		juliet.see("/help tells")
		romeo.enter("Juliet: call me but love")
		juliet.see(" 1!│") // named, and not read
		juliet.enter("/chat orchard")
		juliet.see("Romeo: Juliet: call me but love")
		juliet.enter("/react ❤")
		romeo.see("❤ 1")
		juliet.enter("/reply By whose direction?")
		romeo.see("Juliet: (to #2) By whose direction?")
		romeo.enter("/retract")
		juliet.see("Romeo: (taken back)")
		juliet.quit()
		romeo.see("(1 here")
		romeo.enter("Too early")
		romeo.see("Romeo: Too early")
		juliet.start()
		romeo.see("(2 here") // by the bookmark
		juliet.enter("/chat orchard")
		juliet.see("wherefore art thou", "Romeo: Too early", "(2 here")
		juliet.enter("/leave")
		romeo.see("(1 here")
		juliet.enter("Nobody hears this")
		juliet.see("Failed: you are not in the room")
	})
}

// TestFiles has a file go over, and be saved twice without replacing anything.
func TestFiles(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s)
		data := bytes.Repeat([]byte("a rose by any other name "), 1000)
		file := filepath.Join(t.TempDir(), "rose.txt")
		require.NoError(t, os.WriteFile(file, data, 0o600))
		juliet.enter("/send %s", file)
		romeo.see("[file: rose.txt, text/plain", "24 KiB] /save #1")
		for _, name := range []string{"rose.txt", "rose-1.txt"} {
			romeo.enter("/save")
			romeo.see("/" + name)
			got, err := os.ReadFile(filepath.Join(romeo.saved, name))
			require.NoError(t, err)
			assert.Equal(t, data, got)
		}
		juliet.enter("/send %s-not", file)
		juliet.see("Failed:")
		romeo.enter("/save #9")
		romeo.see("Failed: there is no message #9 here")
	})
}

// TestSecrets has two encrypt, and compare their keys.
func TestSecrets(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s)
		romeo.enter("/omemo on")
		romeo.see("[OMEMO on]")
		juliet.enter("/omemo required")
		juliet.see("[OMEMO required]")
		romeo.enter("With love's light wings")
		juliet.see("With love's light wings  [enc]")
		romeo.see("With love's light wings  [enc] read")
		juliet.enter("/edit nothing")
		juliet.see("Failed: there is no such message here")
		juliet.enter("They will murder thee")
		romeo.see("They will murder thee  [enc]")
		juliet.enter("/edit They will see thee")
		romeo.see("They will see thee  (edited) [enc]")

		file := filepath.Join(t.TempDir(), "secret.txt")
		require.NoError(t, os.WriteFile(file, []byte("night's cloak"), 0o600))
		romeo.enter("/send %s", file)
		juliet.see("[file: secret.txt")
		juliet.enter("/save")
		juliet.see("Saved as")
		got, err := os.ReadFile(filepath.Join(juliet.saved, "secret.txt"))
		require.NoError(t, err)
		assert.Equal(t, "night's cloak", string(got))

		juliet.enter("/keys")
		juliet.see("Keys: 2.", "1. "+romeo.address.String()+" (blind)", "this device")
		romeo.enter("/keys")
		romeo.see("Keys: 2.")
		theirs := fingerprint.FindString(juliet.when("fingerprint", fingerprint.MatchString))
		romeo.see(theirs) // his own
		juliet.enter("/trust 1")
		juliet.see("Key 1 of " + romeo.address.String() + " is verified now.")
		juliet.enter("/trust 2")
		juliet.see("Failed: that is this device")
		juliet.quit()
		juliet.start().enter("/chat %s", romeo.address)
		juliet.see("[OMEMO required]", "With love's light wings  [enc]", "They will see thee  (edited) [enc]")
		romeo.enter("Good night")
		juliet.see("Good night  [enc]")
	})
}

// TestSecretRoom has two encrypt in a room.
func TestSecretRoom(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		romeo, juliet := pair(t, s)
		romeo.enter("/join cell-%s@%s", romeo.address.Localpart(), s.Rooms)
		romeo.see("(1 here")
		romeo.enter("/private")
		romeo.see("Only members get in now.")
		juliet.enter("/chat")
		romeo.enter("/invite %s", juliet.address)
		juliet.see("invites you into a room.", "/join cell-")
		juliet.enter("/join cell-%s@%s", romeo.address.Localpart(), s.Rooms)
		juliet.see("(2 here")
		for _, p := range []*person{romeo, juliet} {
			p.enter("/omemo on")
			p.see("[OMEMO on]")
		}
		juliet.enter("Come, friar")
		romeo.see("Come, friar  [enc]")
		juliet.see("Come, friar  [enc]")
		romeo.enter("/keys")
		romeo.see("Keys: 2.", juliet.address.String()+" (blind)")
	})
}

var fingerprint = regexp.MustCompile(`[0-9a-f]{8}( [0-9a-f]{8}){7}`)

// TestSignIn has the program say what is wrong.
func TestSignIn(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		p := sit(t, s)
		right := p.password
		p.password = "wrong"
		p.run(p.address.String())
		p.see("signed off: ")
		p.enter("/quit")
		p.ended(1)
		p.run("nobody")
		p.ended(1)
		p.run(p.address.String(), right)
		p.see("does not belong on the command line")
		p.ended(1)
		p.password = right
		p.start()
		other := *p
		other.run(p.address.String())
		other.see("another program uses the file")
		other.ended(1)
		p.quit()
	})
}

// TestAsked types address and password where the program asks for them.
func TestAsked(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		p := sit(t, s)
		p.ask = true
		p.run()
		p.see("Address:")
		p.enter("%s", p.address)
		p.see("Password for " + p.address.String())
		p.enter("%s", p.password)
		p.see("[online]")
		assert.NotContains(t, p.term.String(), p.password)
		p.quit()
	})
}

// TestHostile has somebody send what a terminal must not get to see.
func TestHostile(t *testing.T) {
	testbed.Each(t, func(t *testing.T, s *testbed.Server) {
		p := sit(t, s).start()
		address, password := s.Account(t)
		var chats *chat.Client
		testclient.Up(t, testclient.Config(s, address, password), func(c *client.Client) { chats = chat.New(c, chat.Config{}) })
		send := func(text string) {
			_, err := chats.With(p.address).Send(testclient.Context(t), text)
			require.NoError(t, err)
		}
		p.enter("/chat %s", address)
		p.see(address)
		send("one \u009b2J \u202egnorw [red]not red[-]")
		p.see("one \ufffd2J \ufffdgnorw [red]not red[-]")
		send(strings.Repeat("x\n", 10000) + "the end")
		p.see("(there is more: /show)")
		p.lose("the end")
		send("Z" + strings.Repeat("\u0301", 1000) + "algo")
		p.see("Z" + strings.Repeat("\u0301", maxMarks) + "algo")
		p.quit()
	})
}
