package client

import "slices"

// Endpoints are the areas of the API, each with what its handlers need. A new area gets a field here and a line in Routes.
type Endpoints struct {
	Media Media // files
	Keys  Keys  // end-to-end encryption, messages to devices
	Meta  Meta  // versions, capabilities, health, status, metrics
}

// Routes is the route table: every endpoint there is, and the only place where one is registered.
func Routes(e Endpoints) []Route {
	return slices.Concat(
		e.Meta.Routes(),
		e.Keys.Routes(),
		e.Media.Routes(),
	)
}
