# A container instance is lost in the middle of a rolling update, and comes back
seed 1
at 0s machine anna cores 2 memory 2048
at 0s machine bert cores 2 memory 2048
at 0s machine cleo cores 2 memory 2048
at 0s image web runs
at 0s image next runs pull 4s
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 6 minimum 50 maximum 150
at 60s register web image next cpu 128 memory 128
at 60s update web to web:2
# Some tasks of the new deployment are already on it.
at 68s lose bert for 90s
expect web runs 6 of web:2
expect web says has reached a steady state.
