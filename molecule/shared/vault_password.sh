#!/bin/sh
# Prints the vault password of the scenario's lab; before the lab exists there is nothing to decrypt, and Ansible still wants a word.
cat "$MOLECULE_PROJECT_DIRECTORY/.lab/molecule-$MOLECULE_SCENARIO_NAME/vault_password" 2>/dev/null || echo none-yet
