"""What `signedfor doctor` looks at; one module for each thing that is depended on."""
