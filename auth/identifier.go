package auth

import "bongsu/errs"

// Identifier names who wants in. Specification: "Identifier types".
type Identifier struct {
	Type    string `json:"type"`
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// The types of identifier that we take, and the medium of addresses.
const (
	IdentifierUser     = "m.id.user"
	IdentifierThreepid = "m.id.thirdparty"

	MediumEmail = "email"

	identifierPhone = "m.id.phone"
	mediumPhone     = "msisdn"
)

// Legacy is the identifier in the older form of some calls, where this one is empty.
func (i Identifier) Legacy(user, medium, address string) Identifier {
	switch {
	case i != Identifier{}:
		return i
	case user != "":
		return Identifier{Type: IdentifierUser, User: user}
	case medium != "" || address != "":
		return Identifier{Type: IdentifierThreepid, Medium: medium, Address: address}
	}
	return i
}

// Resolve is the user id or localpart that the identifier names, with email, which finds whose an address is: "" for none, which is no
// error. Errors: errs.Unsupported for telephone numbers and types that we do not know.
func (i Identifier) Resolve(email func(address string) string) (string, error) {
	const op = "auth.Identifier"
	switch {
	case i == Identifier{}:
		return "", nil
	case i.Type == IdentifierUser || i.Type == "" && i.Medium == "":
		return i.User, nil
	case i.Type == identifierPhone || i.Medium == mediumPhone:
		return "", errs.New(op, errs.Unsupported, "", "telephone numbers are not used on this server: log in with the user name")
	case i.Type != IdentifierThreepid && i.Type != "" || i.Medium != MediumEmail:
		return "", errs.New(op, errs.Unsupported, "", "identifiers of type %q are not supported", i.Type+i.Medium)
	}
	return email(i.Address), nil
}
