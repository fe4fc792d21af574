"""A whole run on this machine: its own S3 server, the pipeline under kfp.local, a terminal."""
