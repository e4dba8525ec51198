namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests the attention kernels with products of single warps on the present GPU, with the tile sizes for the shared memory of compute capability 8.6.
/// </summary>
[Trait("device", "cuda")]
public sealed class AttentionMemoryOf86DeviceTests() : AttentionWarpDeviceTests(101_376);
