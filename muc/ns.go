package muc

// The namespaces of rooms.
const (
	// NS is the feature of services that have rooms, and of rooms.
	NS = "http://jabber.org/protocol/muc"

	nsUser       = NS + "#user"
	nsAdmin      = NS + "#admin"
	nsOwner      = NS + "#owner"
	nsRequest    = NS + "#request"
	nsRegisterMU = NS + "#register"
	nsRoomInfo   = NS + "#roominfo"
	nsConference = "jabber:x:conference"
	nsRegister   = "jabber:iq:register"
	nsOccupant   = "urn:xmpp:occupant-id:0"
	nsSID        = "urn:xmpp:sid:0"
	nsHats       = "urn:xmpp:hats:0"
	nsVCard      = "vcard-temp"
	nsVCardHash  = "vcard-temp:x:update"
	nsRetract    = "urn:xmpp:message-retract:1"
	nsRetract0   = "urn:xmpp:message-retract:0"
	nsFasten     = "urn:xmpp:fasten:0"
	nsModerate   = "urn:xmpp:message-moderate:1"
	nsModerate0  = "urn:xmpp:message-moderate:0"
	nsMentioned  = "urn:xmpp:mmn:0"
	nsForward    = "urn:xmpp:forward:0"
	nsVersions   = "urn:xmpp:muc:affiliations:1"
	nsDelay      = "urn:xmpp:delay"
	nsPing       = "urn:xmpp:ping"
	nsStickers   = "urn:xmpp:stickers:0"
	nsSearch     = "urn:xmpp:channel-search:0"
	nsSearchOld  = "https://xmlns.zombofant.net/muclumbus/search/1.0" // before it was a XEP
)
