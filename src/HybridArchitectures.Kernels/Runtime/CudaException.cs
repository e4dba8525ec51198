namespace HybridArchitectures.Kernels.Runtime;

/// <summary>The exception that is thrown if the CUDA driver or compiler is missing or reports an error, or if the GPU is not supported.</summary>
public sealed class CudaException : InvalidOperationException
{
    /// <summary>Creates an exception with a message.</summary>
    public CudaException(string message) : base(message) { }

    /// <summary>Creates an exception with a message and a cause.</summary>
    public CudaException(string message, Exception cause) : base(message, cause) { }
}
