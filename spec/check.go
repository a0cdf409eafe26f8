package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Finding is one thing in which an answer is not what the specification says.
type Finding struct {
	Operation string // operationId
	Status    int    // HTTP
	At        string // JSON pointer into the body; indices and keys that are identifiers are *
	Problem   string
}

// String is the finding in one line, the same for the same sort of problem.
func (f Finding) String() string {
	return fmt.Sprintf("%s %d %s: %s", f.Operation, f.Status, f.At, f.Problem)
}

// errorSchema is where the standard error response is defined.
const errorSchema = "api/client-server/definitions/errors/error.yaml"

var errcode = regexp.MustCompile(`^M_[A-Z][A-Z0-9_]*$`)

// ofHTTP are statuses of ranges and conditions, which belong to HTTP itself where files are served (RFC 9110).
var ofHTTP = []int{http.StatusPartialContent, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable}

// answersJSON reports whether the operation answers success in JSON.
func (o *Operation) answersJSON() bool {
	content, _, err := o.loader.at(o.answers["200"], "content")
	return err == nil && slices.Contains(content.keys(), "application/json")
}

// CheckAnswer holds an answer against what the operation says of its status. An error must have the standard form besides;
// the operation need not list its status.
func (o *Operation) CheckAnswer(status int, header http.Header, body []byte) []Finding {
	c := &checker{op: o, status: status}
	if slices.Contains(ofHTTP, status) && !o.answersJSON() {
		return nil
	}
	answer, listed := o.answers[strconv.Itoa(status)]
	if status >= 400 {
		c.checkError(answer, listed, header, body)
		return c.findings
	}
	if !listed {
		c.find("", "the specification does not list this status")
		return c.findings
	}
	content, ok, err := o.loader.at(answer, "content")
	if err != nil {
		c.find("", err.Error())
		return c.findings
	}
	if !ok {
		return c.findings
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	types := content.keys()
	if slices.Contains(types, "application/json") {
		if media != "application/json" {
			c.find("", "Content-Type is "+media)
			return c.findings
		}
		c.checkContent(content, body)
	}
	return c.findings
}

// CheckBody says in what the body of a request is not what the operation wants.
func (o *Operation) CheckBody(body []byte) []Finding {
	c := &checker{op: o}
	if o.body != nil {
		c.check(*o.body, body)
	}
	return c.findings
}

// checker collects findings about one answer.
type checker struct {
	op       *Operation
	status   int
	findings []Finding
}

func (c *checker) find(at, problem string) {
	f := Finding{Operation: c.op.ID, Status: c.status, At: at, Problem: problem}
	if !slices.Contains(c.findings, f) {
		c.findings = append(c.findings, f)
	}
}

// checkError checks the standard form, and the operation's own of that status. User-interactive authentication asks for its next
// stage with 401 and a form of its own.
func (c *checker) checkError(answer place, listed bool, header http.Header, body []byte) {
	if media, _, _ := mime.ParseMediaType(header.Get("Content-Type")); media != "application/json" {
		c.find("", "Content-Type of an error is "+media)
		return
	}
	var e struct {
		Errcode *string
		Error   string
		Flows   []any
	}
	if err := json.Unmarshal(body, &e); err != nil {
		c.find("", "an error is no JSON object: "+err.Error())
		return
	}
	asks := c.status == http.StatusUnauthorized && e.Flows != nil
	switch {
	case e.Errcode == nil && !asks:
		c.find("", "an error without errcode")
	case e.Errcode != nil && (!errcode.MatchString(*e.Errcode) || e.Error == ""):
		c.find("", "an error whose errcode is no errcode, or without words")
	}
	if !asks {
		c.check(place{file: errorSchema}, body)
	}
	if !listed || c.status == http.StatusUnauthorized && !asks {
		return
	}
	content, ok, err := c.op.loader.at(answer, "content")
	if err != nil {
		c.find("", err.Error())
	}
	if ok {
		c.checkContent(content, body)
	}
}

func (c *checker) checkContent(content place, body []byte) {
	media, ok, err := c.op.loader.at(content, "application/json")
	if err != nil {
		c.find("", err.Error())
	}
	if !ok {
		return
	}
	schema, ok, err := c.op.loader.at(media, "schema")
	if err != nil {
		c.find("", err.Error())
	}
	if ok {
		c.check(schema, body)
	}
}

// check holds body against the schema at p.
func (c *checker) check(p place, body []byte) {
	schema, err := c.op.loader.compile(p)
	if err != nil {
		c.find("", fmt.Sprintf("the schema at %s cannot be used: %v", p.url(), err))
		return
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		c.find("", "no JSON: "+err.Error())
		return
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(value); errors.As(err, &invalid) {
		c.leaves(invalid)
	} else if err != nil {
		c.find("", err.Error())
	}
}

// leaves collects the causes that have no causes themselves.
func (c *checker) leaves(e *jsonschema.ValidationError) {
	for _, cause := range e.Causes {
		c.leaves(cause)
	}
	if len(e.Causes) > 0 {
		return
	}
	var at strings.Builder
	for _, key := range e.InstanceLocation {
		if _, err := strconv.Atoi(key); err == nil || strings.ContainsAny(key, "!@$#:") {
			key = "*"
		}
		at.WriteString("/" + key)
	}
	problem := e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	switch e := e.ErrorKind.(type) { // without the value, which differs from run to run
	case *kind.Format:
		problem = "is no " + e.Want
	case *kind.Pattern:
		problem = "does not match " + e.Want
	case *kind.Enum:
		problem = "is none of the listed values"
	}
	c.find(at.String(), problem)
}

// The forms that definitions name beyond those that JSON Schema knows. The specification's own list (string-formats.yaml) has
// no more than this.
var formats = map[string]*regexp.Regexp{
	"mx-user-id":                 regexp.MustCompile(`^@[^\x00]*:.+$`),
	"mx-room-id":                 regexp.MustCompile(`^![^\x00]+$`), // without a server since room version 12
	"mx-event-id":                regexp.MustCompile(`^\$[^\x00]+$`),
	"mx-room-alias":              regexp.MustCompile(`^#[^\x00]*:.+$`),
	"mx-server-name":             regexp.MustCompile(`^[0-9A-Za-z.\-:\[\]]+$`),
	"mx-mxc-uri":                 regexp.MustCompile(`^(mxc://[0-9A-Za-z.\-:\[\]]+/[0-9A-Za-z_\-]+)?$`), // empty: none
	"mx-unpadded-base64":         regexp.MustCompile(`^[0-9A-Za-z+/]*$`),
	"mx-urlsafe-unpadded-base64": regexp.MustCompile(`^[0-9A-Za-z_\-]*$`),
}

func (l *loader) newCompiler() *jsonschema.Compiler {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(l)
	c.AssertFormat()
	for name, form := range formats {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := v.(string); ok && !form.MatchString(s) {
				return fmt.Errorf("%.60q is no %s", s, name)
			}
			return nil
		}})
	}
	return c
}
