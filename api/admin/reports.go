package admin

import (
	"context"
	"net/url"

	"bongsu/api/client"
	"bongsu/room"
)

// Reports are what users brought to the operator's attention.
type Reports interface {
	Reports(limit int) ([]room.Report, error)
	Dismiss(ctx context.Context, report string) error
}

// maxReports is how many reports are listed; the others show when these have been dealt with.
const maxReports = 500

// ReportRoutes are the operator's endpoints about reports.
func ReportRoutes(r Reports) []client.Route {
	h := reportHandlers{r}
	return []client.Route{
		{Op: "admin.listReports", Method: "GET", Path: "/_bongsu/admin/v1/reports", Auth: client.None, Handle: h.list},
		{Op: "admin.dismissReport", Method: "DELETE", Path: "/_bongsu/admin/v1/reports/{report}", Auth: client.None, Handle: h.dismiss},
	}
}

type reportHandlers struct{ reports Reports }

type reportList struct {
	Reports []room.Report `json:"reports"`
}

func (h reportHandlers) list(context.Context, *client.Request) (any, error) {
	all, err := h.reports.Reports(maxReports)
	return reportList{append([]room.Report{}, all...)}, err
}

func (h reportHandlers) dismiss(ctx context.Context, r *client.Request) (any, error) {
	return nil, h.reports.Dismiss(ctx, r.Path("report"))
}

// Reports are the reports that wait, the oldest first, a few hundred at most.
func (c *Client) Reports(ctx context.Context) ([]room.Report, error) {
	var out reportList
	return out.Reports, c.do(ctx, "GET", "/reports", nil, &out)
}

// DismissReport takes a report away that has been dealt with.
func (c *Client) DismissReport(ctx context.Context, report string) error {
	return c.do(ctx, "DELETE", "/reports/"+url.PathEscape(report), nil, nil)
}
