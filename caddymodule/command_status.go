package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--json]",
		Short: "Shows every handler, its counters and its cache",
		Long: `
Shows every onebot_meta handler of the running config: its name and route,
whether it stands alone or in front of an implementation, whether its bot is
online as far as that is known, its WebSocket connections and the downloads
under way. Then the counters of every name, which handlers of one name share
and which start at zero with the process, and what every cache holds.

With --json, it is what the admin API says at /onebot_meta/.`,
		Example: `  $ caddy onebot-meta status
  $ caddy onebot-meta status --config /etc/caddy/Caddyfile
  $ caddy onebot-meta status --json | jq '.[] | select(.online | not) | .name'`,
	}
	cmd.Flags().BoolP("json", "", false, "Print what the admin API says, in JSON")
	return runs(cmd, func(fl caddycmd.Flags, api adminClient) error {
		var handlers []handlerStatus
		raw, err := api.ask(http.MethodGet, adminStatus, &handlers)
		if err != nil {
			return err
		}
		if fl.Bool("json") {
			return printJSON(cmd.OutOrStdout(), raw)
		}
		return printStatus(cmd.OutOrStdout(), handlers)
	})
}

// noHandlers is shown instead of nothing.
const noHandlers = "no onebot_meta handler is configured"

// printStatus writes a table of the handlers, one of the counters that those of
// one name share, and one of the caches that they may share as well.
func printStatus(w io.Writer, handlers []handlerStatus) error {
	if len(handlers) == 0 {
		_, err := fmt.Fprintln(w, noHandlers)
		return err
	}
	var page bytes.Buffer // to which writing never fails
	table := newTable(&page)
	fmt.Fprintln(table, "NAME\tROUTE\tMODE\tONLINE\tWEBSOCKETS\tDOWNLOADS")
	for _, h := range handlers {
		mode, online := "stand-alone", "no"
		if h.PassThru {
			mode = "in front"
		}
		if h.Online {
			online = "yes"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\n",
			printable(h.Name), printable(h.Route), mode, online, h.Connections, len(h.Downloads))
	}
	table.Flush()

	fmt.Fprintln(&page)
	fmt.Fprintln(table, "NAME\tRECEIVED\tSENT\tLOST\tMESSAGES RECEIVED\tMESSAGES SENT\tDISCONNECTS")
	for h := range firsts(handlers, func(h handlerStatus) string { return h.Name }) {
		s := h.Stat
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", printable(h.Name),
			s.PacketReceived, s.PacketSent, s.PacketLost, s.MessageReceived, s.MessageSent, s.DisconnectTimes)
	}
	table.Flush()

	fmt.Fprintln(&page)
	fmt.Fprintln(table, "CACHE\tSTORAGE\tFILES\tSIZE\tDIRECTORY")
	for h := range firsts(handlers, func(h handlerStatus) string { return h.Cache.Directory }) {
		size := bytesOf(h.Cache.Bytes)
		if h.Cache.MaxSize > 0 {
			size += " of " + bytesOf(h.Cache.MaxSize)
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", printable(h.Name),
			storageOf(h), h.Cache.Files, size, printable(h.Cache.Directory))
	}
	table.Flush()
	_, err := page.WriteTo(w)
	return err
}

// storageOf says where files are kept.
func storageOf(h handlerStatus) string {
	if h.Cache.Share > 0 {
		return printable(h.Storage) + ", shared"
	}
	return printable(h.Storage)
}

// newTable returns a writer of lines whose cells end with a tab.
func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// bytesOf returns a number of bytes for people to read.
func bytesOf(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
