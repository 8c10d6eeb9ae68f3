package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "onebot-meta",
		Short: "Shows what the OneBot handlers do, and frees what their caches hold",
		Long: `
Shows what the onebot_meta handlers of a running Caddy do: whether their bots
are online, what passed through them, which files are being downloaded. Frees
the disk of files that nobody needs right now.

All of it goes through Caddy's admin API at '` + caddy.DefaultAdminListen + `'. You may
explicitly specify the --address, or use the --config flag to load the admin
address from your config, if not using the default.`,
		CobraFunc: commands,
	})
}

// commands adds what `caddy onebot-meta` is made of. Alone it shows its help.
func commands(cmd *cobra.Command) {
	cmd.Example = `  $ caddy onebot-meta status
  $ caddy onebot-meta downloads --watch
  $ caddy onebot-meta purge --name mybot`
	cmd.Args = cobra.NoArgs // nor what is no command
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.PersistentFlags().StringP("address", "", "", "Address of the administration API listener (if --config is not used)")
	cmd.PersistentFlags().StringP("config", "c", "", "Configuration file (if --address is not used)")
	cmd.PersistentFlags().StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	cmd.AddCommand(statusCommand(), downloadsCommand(), purgeCommand())
}

// runs makes a command do something with the admin API that its flags name.
func runs(cmd *cobra.Command, do func(caddycmd.Flags, adminClient) error) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
		address, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
		if err != nil {
			return caddy.ExitCodeFailedStartup, fmt.Errorf("couldn't determine admin API address: %w", err)
		}
		if err := do(fl, adminClient(address)); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
		return caddy.ExitCodeSuccess, nil
	})
	return cmd
}

// adminClient is the address of a running Caddy's admin API.
type adminClient string

// mostAnswer bounds an answer, since an address may be anybody's.
const mostAnswer = 256 << 20

// ask sends a request and decodes the answer into dst. It returns the answer
// as it came, too.
func (a adminClient) ask(method, uri string, dst any) (raw []byte, err error) {
	// the connection of one request is of no use to the next one
	header := http.Header{"Connection": {"close"}}
	resp, err := caddycmd.AdminAPIRequest(string(a), method, uri, header, nil)
	if err != nil {
		return nil, a.explain(err)
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of Caddy at %s: %w", a, err)
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		return nil, fmt.Errorf("what answers at %s is not Caddy's admin API, or of another version: %w", a, err)
	}
	return raw, nil
}

// explain says of an error of caddycmd.AdminAPIRequest, which has no type, what
// an administrator can do about it.
func (a adminClient) explain(err error) error {
	answer, answered := strings.CutPrefix(err.Error(), "caddy responded with error: ")
	if !answered {
		return fmt.Errorf("asking Caddy's admin API at %s (--address or --config can name another one): %w", a, err)
	}
	status, body, _ := strings.Cut(answer, ": ")
	var refusal caddy.APIError
	_ = json.Unmarshal([]byte(body), &refusal) // if it is one
	switch {
	case refusal.Message != "":
		return fmt.Errorf("caddy at %s: %s: %s", a, status, printable(refusal.Message))
	case status == "HTTP 404":
		return fmt.Errorf("%s answers HTTP 404: it is not the admin API, or Caddy runs without onebot_meta there", a)
	}
	return fmt.Errorf("caddy at %s: %s: %s", a, status, printable(strings.TrimSpace(body)))
}

// printable returns text as a terminal may have it: quoted if there is
// something in it that a terminal would obey instead of showing it.
func printable(text string) string {
	for _, r := range text {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(text)
		}
	}
	return text
}

// printJSON writes valid JSON with indentation. What a terminal would obey is written
// as escapes, which mean the same.
func printJSON(w io.Writer, raw []byte) error {
	var indented, safe bytes.Buffer
	_ = json.Indent(&indented, bytes.TrimSpace(raw), "", "\t") // it is valid
	for _, r := range indented.String() {
		switch {
		case r < ' ' || unicode.IsPrint(r): // those below are white space here
			safe.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&safe, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&safe, `\u%04x`, r)
		}
	}
	safe.WriteByte('\n')
	_, err := safe.WriteTo(w)
	return err
}
