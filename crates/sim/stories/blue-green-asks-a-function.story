# A function is asked three times about a blue/green deployment while it cannot be reached for a moment and the server dies
seed 31
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 0s image next runs pull 4s
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 3 minimum 100 maximum 200 blue-green bake 60s function POST_SCALE_UP asks 2
at 240s register web image next cpu 128 memory 128
at 240s update web to web:2
at 286s functions away for 20s
at 310s kill server for 10s
expect web runs 3 of web:2
expect web deployments SUCCESSFUL SUCCESSFUL
