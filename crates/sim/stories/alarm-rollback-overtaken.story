# Another deployment begins in the middle of an alarm's rollback, which a machine that is lost holds up
seed 33
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 0s image next runs pull 20s
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 4 minimum 50 maximum 100 alarm rolls back
at 120s register web image next cpu 128 memory 128
at 120s update web to web:2
at 160s lose anna for 120s
at 161s alarm web for 12s
at 178s register web image web cpu 128 memory 128
at 178s update web to web:3
expect web runs 4 of web:3
expect web says deployment failed: alarm detected.
expect web says rolling back to (deployment
expect web deployments SUCCESSFUL STOPPED SUCCESSFUL
