package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

// File names the file with settings. A command that embeds it takes its flags' values from there too.
type File struct {
	Path string `name:"config" placeholder:"FILE" help:"File with settings, in TOML: listen = \"127.0.0.1:8008\". Flags and environment win over it."`
}

// BeforeResolve reads the file, once it is known which, and offers its values to kong. Keys are checked against the flags of
// all commands, so that one file serves them all.
func (*File) BeforeResolve(ctx *kong.Context) error {
	var path string
	for _, flag := range ctx.Flags() {
		if flag.Name == "config" {
			path, _ = ctx.FlagValue(flag).(string)
		}
	}
	if path == "" {
		return nil
	}
	values, err := readFile(path)
	if err != nil {
		return err
	}
	known := flagNames(ctx.Model.Node)
	for key := range values {
		if key == "config" || !slices.Contains(known, key) {
			return fmt.Errorf("%s: unknown setting %q", path, key)
		}
	}
	ctx.AddResolver(fileValues{path, values})
	return nil
}

func flagNames(n *kong.Node) []string {
	var names []string
	for _, f := range n.Flags {
		names = append(names, f.Name)
	}
	for _, c := range n.Children {
		names = append(names, flagNames(c)...)
	}
	return names
}

// readFile flattens a TOML file to names of flags: a table's name and its key's are joined by a dash, underscores count as dashes.
func readFile(path string) (map[string]string, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator says which file
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var tree map[string]any
	if _, err := toml.Decode(string(text), &tree); err != nil {
		return nil, fmt.Errorf("%s: %s", path, oneLine(err))
	}
	values := map[string]string{}
	if err := flatten(values, "", tree); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

func oneLine(err error) string {
	var pe toml.ParseError
	if errors.As(err, &pe) {
		return fmt.Sprintf("line %d: %s", pe.Position.Line, pe.Message)
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

func flatten(into map[string]string, prefix string, tree map[string]any) error {
	for key, v := range tree {
		name := prefix + strings.ReplaceAll(key, "_", "-")
		if table, ok := v.(map[string]any); ok {
			if err := flatten(into, name+"-", table); err != nil {
				return err
			}
			continue
		}
		text, err := scalar(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, twice := into[name]; twice {
			return fmt.Errorf("%s is set twice", name)
		}
		into[name] = text
	}
	return nil
}

// scalar writes a value as it would stand after a flag.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int64, float64:
		return fmt.Sprint(v), nil
	case []any:
		parts := make([]string, len(v))
		for i, p := range v {
			s, err := scalar(p)
			if err != nil {
				return "", err
			}
			parts[i] = s
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("a setting cannot be of this type")
}

// fileValues gives kong what the file says. The environment wins over it.
type fileValues struct {
	path   string
	values map[string]string
}

// Validate has nothing to do: keys were checked when the file was read.
func (fileValues) Validate(*kong.Application) error { return nil }

// Resolve is the file's value of flag, or nil.
func (f fileValues) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	if v, ok := f.values[flag.Name]; ok {
		return v, nil
	}
	return nil, nil
}
