package main

import (
	"fmt"
	"os"

	"github.com/BurntSushi/toml"
	"github.com/fatih/color"
	"github.com/google/uuid"
	"github.com/gorilla/mux"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"golang.org/x/text/language"
	"gopkg.in/yaml.v3"
)

func main() {
	var notes map[string]string
	_, err := toml.Decode("first = \"note\"", &notes)
	if err != nil {
		fmt.Fprintln(os.Stderr, errors.Wrap(err, "notes"))
		os.Exit(1)
	}
	text, _ := yaml.Marshal(notes)
	color.NoColor = true
	fmt.Print(color.GreenString(string(text)))
	fmt.Println(uuid.Nil, mux.NewRouter() != nil, logrus.InfoLevel, cobra.Command{Use: "notes"}.Use,
		language.English, assert.ObjectsAreEqual(1, 1))
}
