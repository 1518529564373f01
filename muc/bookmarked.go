package muc

import (
	"context"

	"mellium.im/xmpp/jid"
)

// EnterRoom is Join for who keeps a list of rooms, such as bookmarks.Config.Rooms: under
// another nickname if the one is taken, and not if the room does not exist. In a room
// that the user is in already it does nothing.
func (c *Client) EnterRoom(ctx context.Context, room jid.JID, nick, password string) error {
	_, err := c.Join(ctx, room, nick, Password(password), NickFallback(), MustExist())
	return err
}

// LeaveRoom leaves a room by its address, if the user is in it.
func (c *Client) LeaveRoom(ctx context.Context, room jid.JID) error {
	if r := c.room(room); r != nil {
		return r.Leave(ctx)
	}
	return nil
}
