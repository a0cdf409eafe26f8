package app

import (
	"slices"

	"bongsu/api/client"
	"bongsu/config"
)

// registration is who may make an account, as the settings say. They have been validated.
func registration(cfg config.Config) client.Registration {
	r := client.Registration{Open: cfg.OpenRegistration, Tokens: cfg.Accounts.RegistrationTokens}
	terms, _ := cfg.Accounts.Documents()
	for _, t := range terms {
		i := slices.IndexFunc(r.Terms, func(p client.Policy) bool { return p.ID == t.ID })
		if i < 0 {
			i = len(r.Terms)
			r.Terms = append(r.Terms, client.Policy{ID: t.ID, Version: t.Version})
		}
		r.Terms[i].Texts = append(r.Terms[i].Texts, client.PolicyText{Language: t.Language, Name: t.Name, URL: t.URL})
	}
	return r
}
