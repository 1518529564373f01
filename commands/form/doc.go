// Package form reads, fills in and makes data forms (XEP-0004): the questions that
// rooms, registration, search and commands ask, and the settings of nodes.
//
//	f, err := form.Parse(el)
//	f.Set("muc#roomconfig_roomname", "The Heath")
//	answer, err := f.Submit()
//
// A form keeps what it does not know: fields of unknown types are there, with
// their values. Media that a field shows (XEP-0221), such as the picture of a
// CAPTCHA, and what XEP-0122 says of the values that a field takes are read, too.
package form
