namespace HybridArchitectures.Kernels.Runtime;

/// <summary>The CUDA driver or compiler is missing, refused something, or the GPU is not supported; the message says what.</summary>
public sealed class CudaException : InvalidOperationException
{
    /// <summary>An error with the text that says what happened.</summary>
    public CudaException(string message) : base(message) { }

    /// <summary>An error with its cause.</summary>
    public CudaException(string message, Exception cause) : base(message, cause) { }
}
