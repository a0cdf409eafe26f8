package drill

import (
	"bytes"
	_ "embed" // the page
	"html/template"
)

//go:embed report.html.tmpl
var page string

// html is the report as one page that needs nothing else.
func (r *Report) html() ([]byte, error) {
	t, err := template.New("report").Funcs(template.FuncMap{"short": short}).Parse(page)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		*Report
		Charts []chart
	}{r, charts(r)})
	return b.Bytes(), err
}
