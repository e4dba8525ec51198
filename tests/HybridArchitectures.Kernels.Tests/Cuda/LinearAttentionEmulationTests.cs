namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests the CUDA kernels of linear attention with a decay per key channel under emulation.</summary>
public sealed class LinearAttentionEmulationTests() : ChannelDecayEmulationTests(new LinearAttentionOperator());
