package client

import "slices"

// Endpoints are the areas of the API, each with what its handlers need. A new area gets a field here and a line in Routes.
type Endpoints struct {
	Meta     Meta     // versions, capabilities, health, status, metrics
	Accounts Accounts // registration, login, devices, profiles, account data, filters, push rules
	Rooms    Rooms    // rooms, members, events, receipts
	Keys     Keys     // end-to-end encryption, messages to devices
	Sync     Sync     // what is new, who is typing
	Media    Media    // files
}

// Routes is the route table: every endpoint there is, and the only place where one is registered.
func Routes(e Endpoints) []Route {
	return slices.Concat(
		e.Meta.Routes(),
		e.Accounts.Routes(),
		e.Rooms.Routes(),
		e.Keys.Routes(),
		e.Sync.Routes(),
		e.Media.Routes(),
	)
}
