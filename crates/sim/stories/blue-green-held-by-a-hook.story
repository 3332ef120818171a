# A hook holds a blue/green deployment while the server dies and a machine is lost; old tasks stay until the new ones are proven
seed 11
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s machine cleo cores 4 memory 4096
at 0s image web runs
at 0s image next runs pull 4s
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 3 minimum 100 maximum 200 blue-green bake 60s pause POST_SCALE_UP for 600s
# The first deployment is held, too.
at 60s continue web
at 130s register web image next cpu 128 memory 128
at 130s update web to web:2
at 160s lose bert for 60s
at 190s kill server for 10s
at 300s continue web
expect web runs 3 of web:2
