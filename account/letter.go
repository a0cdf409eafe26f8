package account

import (
	"fmt"

	"bongsu/id"
)

// letter is what is said to an address.
type letter struct {
	subject, text string
	hasLink       bool // whose link can be confirmed
}

// letter chooses the words: only who reads mail at the address learns what the server knows of it.
func (s *Service) letter(rq Request, owner id.UserID, link string) letter {
	server := string(s.cfg.Server)
	const unasked = "\nIf this was not you, there is nothing to do: without the link nothing happens.\n"
	follow := func(subject, why string) letter {
		return letter{subject, fmt.Sprintf("%s\n\nTo go on, open this link, which is good for an hour:\n\n%s\n%s", why, link, unasked), true}
	}
	tell := func(subject, why string) letter {
		return letter{subject: subject, text: why + "\n\nIf this was not you, there is nothing to do.\n"}
	}
	switch {
	case rq.Purpose == ForPassword && owner == "":
		return tell("No account at "+server, "Somebody wants to set a new password at "+server+
			" and gave this address. It belongs to no account there: perhaps you used another one.")
	case rq.Purpose == ForPassword:
		return follow("New password at "+server, fmt.Sprintf("Somebody wants to set a new password for %s.", owner))
	case owner != "" && owner != rq.User:
		return tell("Your account at "+server, "Somebody wants to use this address at "+server+
			". It belongs to an account there already. If you forgot the password, ask for a new one.")
	case rq.Purpose == ForRegistration:
		return follow("Your new account at "+server, "Somebody wants to make an account at "+server+" with this address.")
	}
	return follow("Your address at "+server, "Somebody wants to add this address to an account at "+server+".")
}
