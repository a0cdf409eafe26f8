package admin

import (
	"context"
	"encoding/json"
	"net/url"

	"bongsu/api/client"
)

// Sites are the sites of a cluster, as an operator handles them from any of them. On a single node there is one.
type Sites interface {
	// Status is the status of every site, ready to be marshalled.
	Status(ctx context.Context) (any, error)
	// Drain makes a site give up what it leads and send clients away, or, with on false, take part again. Errors: NotFound.
	Drain(ctx context.Context, site string, on bool) error
}

// SiteRoutes are the operator's endpoints about sites.
func SiteRoutes(sites Sites) []client.Route {
	h := siteHandlers{sites}
	return []client.Route{
		{Op: "admin.sites", Method: "GET", Path: "/_bongsu/admin/v1/sites", Auth: client.None, Handle: h.status},
		{Op: "admin.drain", Method: "PUT", Path: "/_bongsu/admin/v1/sites/{site}/drained", Auth: client.None, Handle: h.drain},
	}
}

type siteHandlers struct{ sites Sites }

func (h siteHandlers) status(ctx context.Context, _ *client.Request) (any, error) {
	return h.sites.Status(ctx)
}

// Drained asks for a site to be drained, or not.
type Drained struct {
	Drained bool `json:"drained"`
}

func (h siteHandlers) drain(ctx context.Context, r *client.Request) (any, error) {
	var in Drained
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	return nil, h.sites.Drain(ctx, r.Path("site"), in.Drained)
}

// Sites is the status of every site, as the server marshals it.
func (c *Client) Sites(ctx context.Context) (json.RawMessage, error) {
	var out json.RawMessage
	return out, c.do(ctx, "GET", "/sites", nil, &out)
}

// Drain makes a site give up what it leads, or take part again.
func (c *Client) Drain(ctx context.Context, site string, on bool) error {
	return c.do(ctx, "PUT", "/sites/"+url.PathEscape(site)+"/drained", Drained{on}, nil)
}
