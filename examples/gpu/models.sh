# shellcheck shell=bash
# Sourced by check.sh and bundle.sh: the models that are measured, trained for one epoch each, since
# speed does not depend on the values of the weights.

small_model=()
# l_max 2, 64 scalar and 32 tensor features, networks twice as wide, cutoff 5.0 A
medium_model=(cutoff=5.0)
for setting in l_max=2 num_scalar_features=64 num_tensor_features=32 radial_chemical_embed_dim=64 \
  scalar_embed_mlp_hidden_layers_width=128 allegro_mlp_hidden_layers_width=128; do
  medium_model+=("training_module.model.$setting")
done

# Prints the command that trains a model of the repository's example into FOLDER/best.ckpt.
training_of() { # REPOSITORY FOLDER OVERRIDES...
  local repository=$1 folder=$2
  shift 2
  printf '%s\n' nequip-train -cp "$repository/examples/nh3" -cn train "hydra.run.dir=$folder" \
    trainer.max_epochs=1 'run=[train]' "$@"
}
