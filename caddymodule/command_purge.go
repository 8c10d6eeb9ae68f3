package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func purgeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "purge [--name <name>]",
		Short: "Removes the files of the caches that may go",
		Long: `
Removes every downloaded file that may go, from the caches of all onebot_meta
handlers or only from those of one name, and says what that freed. What was
returned to a bot in the last 10 minutes or so stays, and so does what is in use.

What is asked for again is downloaded again.`,
		Example: `  $ caddy onebot-meta purge
  $ caddy onebot-meta purge --name mybot`,
	}
	cmd.Flags().StringP("name", "", "", "The name whose caches to purge (defaults to all)")
	return runs(cmd, func(fl caddycmd.Flags, api adminClient) error {
		uri := adminCache
		if fl.Changed("name") {
			name := fl.String("name")
			if name == "" { // of a script whose variable is not set
				return errors.New("--name is empty; leave it out to purge all caches")
			}
			uri += "?name=" + url.QueryEscape(name)
		}
		var purged []purgeStatus
		if _, err := api.ask(http.MethodDelete, uri, &purged); err != nil {
			return err
		}
		return printPurge(cmd.OutOrStdout(), purged)
	})
}

// printPurge writes what each cache lost and what it kept.
func printPurge(w io.Writer, purged []purgeStatus) error {
	if len(purged) == 0 {
		_, err := fmt.Fprintln(w, noHandlers)
		return err
	}
	var page bytes.Buffer // to which writing never fails
	for _, p := range purged {
		kept := ""
		if p.KeptFiles > 0 {
			kept = "  kept " + filesOf(p.KeptFiles, p.KeptBytes) + ": returned in the last 10 minutes or so, or in use\n"
		}
		copies := ""
		if p.FreedCopies > 0 {
			copies = "  freed in the storage: " + filesOf(p.FreedCopies, p.FreedCopyBytes) + "\n"
		}
		fmt.Fprintf(&page, "%s in %s\n  freed %s\n%s%s",
			printable(p.Name), printable(p.Directory), filesOf(p.FreedFiles, p.FreedBytes), kept, copies)
	}
	_, err := page.WriteTo(w)
	return err
}

func filesOf(files int, size int64) string {
	switch files {
	case 0:
		return "nothing"
	case 1:
		return "1 file, " + bytesOf(size)
	}
	return fmt.Sprintf("%d files, %s", files, bytesOf(size))
}
