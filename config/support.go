package config

import (
	"fmt"
	"regexp"
	"strings"

	"bongsu/id"
)

// Person is somebody who runs the server.
type Person struct {
	Role  string // "m.role.admin"
	User  id.UserID
	Email string
}

// roles are those of the specification, by what the setting calls them. Others are written as they are told.
var roles = map[string]string{"admin": "m.role.admin", "security": "m.role.security"}

var (
	roleName = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$`)
	mailbox  = regexp.MustCompile(`^[^\s@<>]+@[^\s@<>]+$`)
)

// People are the contacts, in the order of the setting.
func (s Support) People() ([]Person, error) {
	out := make([]Person, 0, len(s.Contacts))
	for _, c := range s.Contacts {
		f := strings.Fields(c)
		if len(f) < 2 || len(f) > 3 {
			return nil, fmt.Errorf("%q is not 'ROLE ADDRESS', with a user id, an e-mail address or both", c)
		}
		p := Person{Role: roles[f[0]]}
		if p.Role == "" {
			p.Role = f[0]
		}
		if !roleName.MatchString(p.Role) {
			return nil, fmt.Errorf("%q: the role %q is not admin, security, or a name such as org.example.help", c, f[0])
		}
		for _, address := range f[1:] {
			user, err := id.ParseUserID(address)
			switch {
			case err == nil && p.User == "":
				p.User = user
			case mailbox.MatchString(address) && p.Email == "":
				p.Email = address
			default:
				return nil, fmt.Errorf("%q: %q is not a user id, nor an e-mail address, or there are two", c, address)
			}
		}
		out = append(out, p)
	}
	return out, nil
}
