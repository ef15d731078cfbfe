// Command login is a small application whose users sign in with nod: a password, then an approval
// on their device.
//
//	nod application create "Example" --key-file example.key     # prints the application's id
//	NOD_API_KEY_FILE=example.key NOD_APPLICATION=app_… go run ./examples/login
//
// It has no script: the page with the digits asks the browser for the next page, and that one
// comes when the person has answered.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	key, err := os.ReadFile(os.Getenv("NOD_API_KEY_FILE"))
	if err != nil {
		return err
	}
	nod, err := client.New(client.Config{
		URL: setting("NOD_URL", "http://127.0.0.1:8663"), APIKey: client.Secret(strings.TrimSpace(string(key))),
		Application: os.Getenv("NOD_APPLICATION"), Issuer: os.Getenv("NOD_ISSUER"),
	})
	if err != nil {
		return err
	}
	listen := setting("LISTEN", "127.0.0.1:8080")
	s := &http.Server{Addr: listen, Handler: newSite(nod).handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = s.Close() // the program ends
	}()
	log.Printf("sign in at http://%s", listen)
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func setting(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
