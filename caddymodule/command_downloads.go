package caddymodule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func downloadsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "downloads [--watch | --json]",
		Short: "Shows the downloads under way",
		Long: `
Shows what the onebot_meta handlers are downloading, oldest first: how far each
download is, how fast, and how long it will take at that rate. Of a URL it is
scheme, host and path only. What is not known is a question mark.

With --watch, they are progress bars on a terminal, and otherwise a line
whenever something has changed, until Ctrl-C or until Caddy has gone.`,
		Example: `  $ caddy onebot-meta downloads
  $ caddy onebot-meta downloads --watch
  $ caddy onebot-meta downloads --json | jq 'map(.rate) | add'`,
	}
	cmd.Flags().BoolP("watch", "w", false, "Keep showing them as they proceed")
	cmd.Flags().BoolP("json", "", false, "Print what the admin API says, in JSON")
	cmd.MarkFlagsMutuallyExclusive("watch", "json")
	return runs(cmd, func(fl caddycmd.Flags, api adminClient) error {
		if fl.Bool("watch") {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return watch(ctx, api.downloads, newView(cmd.OutOrStdout()))
		}
		downloads, err := api.downloads()
		if err != nil {
			return err
		}
		if fl.Bool("json") {
			var raw bytes.Buffer
			enc := json.NewEncoder(&raw)
			enc.SetEscapeHTML(false)  // it is for no web page
			_ = enc.Encode(downloads) // which were decoded just now
			return printJSON(cmd.OutOrStdout(), raw.Bytes())
		}
		return printDownloads(cmd.OutOrStdout(), downloads)
	})
}

// downloads returns what all handlers are downloading, oldest first. Those that
// share a cache share its downloads.
func (a adminClient) downloads() ([]downloadStatus, error) {
	var handlers []handlerStatus
	if _, err := a.ask(http.MethodGet, adminStatus, &handlers); err != nil {
		return nil, err
	}
	all := []downloadStatus{} // in JSON an array, not null
	for _, h := range handlers {
		all = append(all, h.Downloads...)
	}
	slices.SortFunc(all, func(a, b downloadStatus) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return slices.CompactFunc(all, func(a, b downloadStatus) bool { return a.ID == b.ID }), nil
}

// noDownloads is shown instead of nothing.
const noDownloads = "no downloads are under way"

// printDownloads writes a table of downloads. A URL is never cut short in it,
// for programs to find.
func printDownloads(w io.Writer, downloads []downloadStatus) error {
	if len(downloads) == 0 {
		_, err := fmt.Fprintln(w, noDownloads)
		return err
	}
	table := newTable(w)
	fmt.Fprintln(table, "ID\tNAME\tPROGRESS\tRATE\tLEFT\tTRIES\tCALLERS\tURL")
	for _, d := range downloads {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n",
			d.ID, printable(d.Name), cmp.Or(d.amount(), waiting), cmp.Or(d.rate(), "-"), cmp.Or(d.left(), "-"), d.Tries, d.Callers, d.url())
	}
	return table.Flush()
}

// url returns the URL in ASCII that a terminal shows as it is.
func (d downloadStatus) url() string {
	var b strings.Builder
	for _, c := range []byte(d.URL) {
		if c <= ' ' || c > '~' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// waits reports whether the download has not had its turn yet.
func (d downloadStatus) waits() bool { return d.Tries == 0 }

// waiting is said of a download that waits.
const waiting = "waiting for its turn"

// amount returns how much of the file there is, and nothing if it waits.
func (d downloadStatus) amount() string {
	switch {
	case d.waits():
		return ""
	case d.Total == nil:
		return bytesOf(d.Done) + " / ?"
	}
	return bytesOf(d.Done) + " / " + bytesOf(*d.Total)
}

// rate returns how fast the download is, and nothing if it waits.
func (d downloadStatus) rate() string {
	if d.waits() {
		return ""
	}
	return bytesOf(d.Rate) + "/s"
}

// left returns how long the download will take at its rate, and nothing if it
// waits.
func (d downloadStatus) left() string {
	switch {
	case d.waits():
		return ""
	case d.Total == nil || d.Rate <= 0:
		return "?"
	}
	rest := max(*d.Total, 0) - max(d.Done, 0)
	s := max(rest, 0) / d.Rate // a time.Duration could overflow
	if rest%d.Rate > 0 {
		s++ // the last second is one, too
	}
	switch {
	case s < 60:
		return strconv.FormatInt(s, 10) + "s"
	case s < 60*60:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 100*60*60:
		return fmt.Sprintf("%dh%02dm", s/60/60, s/60%60)
	}
	return fmt.Sprintf("%dd", s/60/60/24)
}

// again returns which try of the download this is, unless it is the first.
func (d downloadStatus) again() string {
	if d.Tries < 2 {
		return ""
	}
	return fmt.Sprintf("try %d", d.Tries)
}
