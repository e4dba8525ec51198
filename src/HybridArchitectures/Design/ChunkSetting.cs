namespace HybridArchitectures.Design;

/// <summary>Contains the chunk size of a mixer, and a function that returns the mixer with another one.</summary>
readonly record struct ChunkSetting(int Size, Func<int, MixerSpec> Change);
